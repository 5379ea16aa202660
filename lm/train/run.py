"""A training run of the language model: config -> model or adapter in a folder.

OUT/config.json     the run's configuration      OUT/checkpoints/  to resume from
OUT/metrics.jsonl   one line per log step        OUT/model/        the model and its processor
OUT/tensorboard/    the same and samples         OUT/adapter/      instead, of a LoRA run
OUT/tokenizer/      if the run trained one       OUT/base/         of an adapter on a text model
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from accelerate import Accelerator

from ...codec.model import ALMTokenizer
from ...core.files import lock_run_dir
from ...core.loading import no_inner_bars
from ...core.model_card import hub_id
from ...core.runtime import Runtime, choose_workers, slow_fused_attention, training_products
from ...core.training.checkpoint import read_newest
from ...core.training.run_folder import init_run_dir, replaced_export
from ..lora import LoraSettings, add_lora, merge_adapter, save_adapter
from ..model import AudioLM
from ..packing import enable_packing
from ..processor import AudioLMProcessor
from ..text.encoder import TextEncoder
from .checkpoint import all_whole, is_sharded, shard
from .config import LMTrainingConfig
from .corpus import (
    WeightedTask,
    count_texts,
    find_tasks,
    held_out,
    named_speakers,
    read_info,
    training_batches,
    training_texts,
)
from .initial_model import InitialModel, build_initial_model, build_teacher
from .offline import check_texts
from .trainer import AudioLMTrainer, start_processes
from .validation import Validator, warn_of_leaks

_SHORT_SECONDS = 20.0


@dataclass(frozen=True)
class LMTrainResult:
    """State of a run when it ended."""

    step: int  # optimiser steps done
    model: Path  # folder of the model, or of the adapter
    finished: bool  # False after Ctrl-C or SIGTERM
    signal: int | None  # which one
    loss: float | None  # of the last log line of this call


def train_lm(config: LMTrainingConfig) -> LMTrainResult:
    """Train until the last step, from the newest complete checkpoint of ``config.out`` if any.

    Args:
        config: Configuration of the run. Its tasks must be registered: import `almtok.tasks`.

    Raises:
        ValueError: The run folder belongs to another configuration or is in use, or there is no
            usable data.
        CheckpointError: An explicit source is missing, or a checkpoint cannot be written.
        TrainingStopped: Too many bad steps in a row.
    """
    processes = accelerator, runtime = start_processes(config)
    if config.num_workers is None:
        workers = choose_workers(accelerator.device, runtime.precision)
        config = dataclasses.replace(config, num_workers=workers)
    weighted, info = find_tasks(config), read_info(config)
    run, main = Path(config.out), accelerator.is_main_process
    with lock_run_dir(run), no_inner_bars(), training_products(accelerator.device):
        init_run_dir(run, config, write=main)
        names = [item.task.name for item in weighted]
        voices = named_speakers(config, weighted)
        start = build_initial_model(
            config, info, names, lambda: _checked_texts(config, weighted), voices
        )
        lm = _prepare(start, config, accelerator, runtime)
        place: dict[str, Any] = {
            "rank": accelerator.process_index, "world": accelerator.num_processes,
        }  # fmt: skip
        pin = accelerator.device.type == "cuda"
        batches = training_batches(
            config, weighted, lm.config, start.texts, pin_memory=pin, **place
        )
        tasks = held_out(config, weighted, lm.config, start.texts)
        if main:
            warn_of_leaks(config)
        trainer = AudioLMTrainer(
            lm,
            config,
            batches,
            processes=processes,
            validator=_make_validator(config, start, tasks, place),
            start=read_newest(run),
            teacher=build_teacher(config, lm, names),
            codec=_load_codec(config, lm) if main else None,
            export=lambda final: export_model(lm, start.texts, config, main, final=final),
        )
        trainer.train()
        folder = trainer.export(final=trainer.finished)
        accelerator.wait_for_everyone()
    return LMTrainResult(
        step=trainer.step,
        model=folder,
        finished=trainer.finished,
        signal=trainer.interrupt.signal,
        loss=trainer.reading.loss if trainer.reading is not None else None,
    )


def _prepare(
    start: InitialModel, config: LMTrainingConfig, accelerator: Accelerator, runtime: Runtime
) -> AudioLM:
    """The initial model on its device, with its adapter or sharded over the processes."""
    lm = start.lm if config.shard else start.lm.to(accelerator.device)
    if config.lora_rank:
        _keep_base(start, config, accelerator.is_main_process)
        add_lora(lm, lora_settings(config))
    # PyTorch's fused attention is slow in bfloat16 on a CPU. Plain operations keep all attention
    # weights for the backward pass, so only short rows are trained with them.
    short = config.max_seconds is not None and config.max_seconds <= _SHORT_SECONDS
    attention = lm.config.backbone._attn_implementation  # type: ignore[union-attr]
    slow = slow_fused_attention(accelerator.device, runtime.precision)
    if slow and short and attention == "sdpa":
        lm.backbone.set_attn_implementation("eager")
    if config.packing:
        enable_packing(lm)
    if config.shard:
        shard(lm, accelerator.num_processes, runtime)
    return lm


def _checked_texts(config: LMTrainingConfig, weighted: Sequence[WeightedTask]) -> Iterator[str]:
    """Texts for a tokenizer, unless they are so many that it must be trained before."""
    check_texts(config, count_texts(config, weighted))
    return training_texts(config, weighted)


def _make_validator(
    config: LMTrainingConfig, start: InitialModel, tasks: Mapping[str, Any], place: dict[str, Any]
) -> Validator | None:
    """Evaluates the held-out rows, if there are any."""
    if not tasks:
        return None
    return Validator(
        tasks,
        start.lm.config,
        eos_id=start.texts.eos_id,
        budget=config.batch_positions,
        decode=start.texts.decode,
        samples=config.samples,
        **place,
    )


def _load_codec(config: LMTrainingConfig, lm: AudioLM) -> ALMTokenizer | None:
    """The codec that decodes samples.

    Raises:
        ValueError: It is not the codec of the tokens.
    """
    if config.codec is None:
        return None
    codec = ALMTokenizer.from_pretrained(config.codec).eval()
    fingerprint = lm.config.codec_fingerprint
    if codec.fingerprint != fingerprint:
        raise ValueError(
            f"the tokens were made by codec {fingerprint}, got codec {codec.fingerprint} in"
            f" {config.codec}"
        )
    return codec


def lora_settings(config: LMTrainingConfig) -> LoraSettings:
    """The adapter that a configuration describes."""
    return LoraSettings(
        rank=config.lora_rank,
        alpha=config.lora_alpha,
        targets=tuple(config.lora_targets),
        dropout=config.lora_dropout,
        audio=config.lora_audio,
        audio_rank=config.lora_audio_rank,
    )


def export_model(
    lm: AudioLM,
    texts: TextEncoder,
    config: LMTrainingConfig,
    main: bool,
    *,
    final: bool = True,
) -> Path:
    """Write the model with its processor, or the adapter, in place of an older one.

    All processes must call it together; the first one writes.

    Args:
        lm: The model.
        texts: Its text encoder.
        config: Configuration of the run.
        main: Whether this is the first process.
        final: With the codec, and with the merged model if ``config.merge`` is set.
    """
    run = Path(config.out)
    if config.lora_rank:
        card = {"base_model": hub_id(config.init_from)}
        folder = _replace(run / "adapter", lambda aside: save_adapter(lm, aside, card=card), main)
        if not (final and config.merge):
            return folder
        merge_adapter(lm)
    model = _gathered(lm, main)
    codec = final and config.codec is not None
    return _replace(run / "model", lambda aside: _write(model, texts, config, aside, codec), main)


def _write(
    lm: AudioLM, texts: TextEncoder, config: LMTrainingConfig, folder: Path, codec: bool
) -> None:
    """The model with its processor."""
    card = {"base_model": hub_id(config.backbone or config.init_from), "language": texts.language}
    lm.save_pretrained(folder, card=card)
    processor = AudioLMProcessor(
        texts.tokenizer, lm.config, config.codec, text_form=texts.form, language=texts.language
    )
    processor.save_pretrained(folder, include_codec=codec)


def _keep_base(start: InitialModel, config: LMTrainingConfig, main: bool) -> None:
    """Save the base of an adapter on a text model, whose audio parts exist nowhere else."""
    place = Path(config.out) / "base"
    if config.backbone is not None and not place.exists():
        _replace(place, lambda aside: _write(start.lm, start.texts, config, aside, False), main)


def _gathered(lm: AudioLM, main: bool) -> AudioLM:
    """The model with whole weights."""
    if not is_sharded(lm):
        return lm
    values = all_whole(lm.state_dict(), keep=main)
    if not main:
        return lm
    model = AudioLM(lm.config)
    model.load_state_dict(values)
    return model


def _replace(place: Path, write: Callable[[Path], object], main: bool) -> Path:
    """Write a folder in place of an older one, in the first process."""
    if main:
        with replaced_export(place) as aside:
            write(aside)
    return place
