"""A training run of the language model: from a config to a model, or an adapter, in a folder.

OUT/config.json     the run's configuration      OUT/checkpoints/  to go on from
OUT/metrics.jsonl   one line per log step        OUT/model/        the model and its processor
OUT/tensorboard/    the same and samples         OUT/adapter/      instead, of a LoRA run
OUT/tokenizer/      if the run has made one      OUT/base/         of an adapter on a text model
"""

from __future__ import annotations

import dataclasses
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import TrainingArguments
from transformers.utils import logging as transformers_logging

from ...codec.model import ALMTokenizer
from ...core.runtime import choose_workers, slow_fused_attention, training_products
from ...core.training.checkpoint import Checkpoint, newest_checkpoint, read_checkpoint
from ...core.training.run_folder import init_run_dir
from ...core.training.run_lock import lock_run_dir
from ..lora import LoraSettings, add_lora, merge_adapter, save_adapter
from ..model import AudioLM
from ..processor import AudioLMProcessor
from ..text.encoder import TextEncoder
from . import checkpoint
from .config import LMTrainingConfig
from .corpus import FindTask, choose, held_out, read_info, training_batches, training_texts
from .initial_model import InitialModel, build_initial_model, build_teacher
from .monitor import Monitor
from .sharding import is_sharded, shard, whole
from .split_leaks import warn_of_leaks
from .trainer import AudioLMTrainer, precision_of, training_arguments
from .validation import Validator

_SHORT_SECONDS = 20.0


@dataclass(frozen=True)
class LMTrainResult:
    """Where a run ended."""

    step: int  # optimiser steps done
    model: Path  # folder of the model, or of the adapter
    finished: bool  # False after Ctrl-C or SIGTERM
    signal: int | None  # which one
    loss: float | None  # of the last log line of this call


def train_lm(config: LMTrainingConfig, find_task: FindTask) -> LMTrainResult:
    """Train until the last step, from the newest complete checkpoint of ``config.out`` if any.

    Args:
        config: of the run.
        find_task: a task by its name, `almtok.tasks.base.get_task`.

    Raises:
        ValueError: the run folder belongs to another configuration or is in use, or there is no
            usable data.
        CheckpointError: an explicit source is missing, or a checkpoint cannot be written.
        TrainingStopped: too many bad steps in a row.
    """
    run = Path(config.out)
    args = training_arguments(config)
    if config.num_workers is None:
        workers = choose_workers(args.device, precision_of(args))
        config = dataclasses.replace(config, num_workers=workers)
    choices, info = choose(config, find_task), read_info(config)
    with lock_run_dir(run), _quiet(), training_products(args.device):
        init_run_dir(run, config, write=args.process_index == 0)
        names = [choice.task.name for choice in choices]
        start = build_initial_model(config, info, names, lambda: training_texts(config, choices))
        lm = start.lm.to(args.device)
        if config.lora_rank:
            _keep_base(start, config, args.process_index)
            add_lora(lm, lora_settings(config))
        _choose_attention(lm, config, args)
        if config.shard:
            shard(lm, args.world_size)
        place: dict[str, Any] = {"rank": args.process_index, "world": args.world_size}
        pin = args.device.type == "cuda"
        batches = training_batches(config, choices, lm.config, start.texts, pin_memory=pin, **place)
        tasks = held_out(config, choices, lm.config, start.texts)
        if args.process_index == 0:
            warn_of_leaks(config)
        validator = Validator(
            tasks,
            lm.config,
            eos_id=start.texts.eos_id,
            budget=config.batch_positions,
            decode=start.texts.text,
            samples=config.samples,
            **place,
        )
        newest = newest_checkpoint(run)
        checkpoint = read_checkpoint(newest) if newest is not None else None
        trainer = AudioLMTrainer(
            lm,
            config,
            batches,
            args=args,
            validator=validator if tasks else None,
            start=checkpoint,
            teacher=build_teacher(config, lm, names),
        )
        return _run(trainer, start.texts, checkpoint)


def _run(trainer: AudioLMTrainer, texts: TextEncoder, start: Checkpoint | None) -> LMTrainResult:
    config, args = trainer.config, trainer.args
    step = start.step if start is not None else 0
    lm: AudioLM = trainer.model

    def export(final: bool = False) -> Path:
        return export_model(lm, texts, config, args.process_index, final=final)

    trainer.export = export
    if start is not None:
        place = checkpoint.own_place(start.state["data"], args.process_index, args.world_size)
        trainer.batches.load_state_dict(place)
    if step >= config.steps:
        assert start is not None
        checkpoint.restore_weights(lm, start.tensors["model"])
    else:
        with _monitor(trainer, step), trainer.interrupt:
            trainer.train()
            if trainer.last_saved < trainer.state.global_step:
                trainer.save()
        step = trainer.state.global_step
    folder = export(final=step >= config.steps)
    trainer.accelerator.wait_for_everyone()
    return LMTrainResult(
        step=step,
        model=folder,
        finished=step >= config.steps,
        signal=trainer.interrupt.signal,
        loss=trainer.reading.loss if trainer.reading is not None else None,
    )


def _choose_attention(lm: AudioLM, config: LMTrainingConfig, args: TrainingArguments) -> None:
    """Attention by plain operations where PyTorch's fused kernel is slow.

    All weights of a row's attention are kept for the backward pass, so only short rows are trained
    like this.
    """
    short = config.max_seconds is not None and config.max_seconds <= _SHORT_SECONDS
    attention = lm.config.backbone._attn_implementation  # type: ignore[union-attr]
    slow = slow_fused_attention(args.device, precision_of(args))
    if slow and short and attention == "sdpa":
        lm.backbone.set_attn_implementation("eager")


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
    rank: int,
    *,
    final: bool = True,
) -> Path:
    """Write the model with its processor, or the adapter, in place of an older one.

    All processes must come here together; the first one writes.

    Args:
        lm: the model as it stands.
        texts: how it reads texts.
        config: of the run.
        rank: of this process.
        final: with the codec, and with the merged model if that is wanted.
    """
    run = Path(config.out)
    if config.lora_rank:
        folder = _replace(run / "adapter", lambda aside: save_adapter(lm, aside), rank)
        if not (final and config.merge):
            return folder
        merge_adapter(lm)
    model = _gathered(lm, rank)

    codec = final and config.codec is not None
    return _replace(run / "model", lambda aside: _write(model, texts, config, aside, codec), rank)


def _write(
    lm: AudioLM, texts: TextEncoder, config: LMTrainingConfig, folder: Path, codec: bool
) -> None:
    """The model with its processor."""
    lm.save_pretrained(folder)
    processor = AudioLMProcessor(
        texts.tokenizer, lm.config, config.codec, text_form=texts.form, language=texts.language
    )
    processor.save_pretrained(folder, include_codec=codec)


def _keep_base(start: InitialModel, config: LMTrainingConfig, rank: int) -> None:
    """Save what an adapter on a text model stands on: its audio parts exist nowhere else."""
    place = Path(config.out) / "base"
    if config.backbone is not None and not place.exists():
        _replace(place, lambda aside: _write(start.lm, start.texts, config, aside, False), rank)


def _gathered(lm: AudioLM, rank: int) -> AudioLM:
    """The model in one piece."""
    if not is_sharded(lm):
        return lm
    values = {name: whole(value).cpu() for name, value in lm.state_dict().items()}
    if rank:
        return lm
    model = AudioLM(lm.config)
    model.load_state_dict(values)
    return model


def _replace(place: Path, write: Callable[[Path], object], rank: int) -> Path:
    """Write a folder aside, then put it in the place of the old one."""
    if rank:
        return place
    aside, old = place.with_name(f".tmp-{place.name}"), place.with_name(f".old-{place.name}")
    for folder in (aside, old):
        shutil.rmtree(folder, ignore_errors=True)
    aside.mkdir()
    write(aside)
    if place.exists():
        os.replace(place, old)
    os.replace(aside, place)
    shutil.rmtree(old, ignore_errors=True)
    return place


@contextmanager
def _monitor(trainer: AudioLMTrainer, step: int) -> Iterator[None]:
    """Somebody watches the first process."""
    if trainer.args.process_index:
        yield
        return
    config = trainer.config
    codec = ALMTokenizer.from_pretrained(config.codec).eval() if config.codec else None
    known = trainer.model.config.codec_fingerprint
    if codec is not None and codec.fingerprint != known:
        raise ValueError(
            f"the codec {config.codec} has fingerprint {codec.fingerprint}, the tokens were made by"
            f" codec {known}: what it decodes would not be these sounds"
        )
    monitor = Monitor(config, step, trainer.model.config.codebook_size, codec)
    trainer.monitor = monitor
    precision = precision_of(trainer.args)
    monitor.say(f"training on {trainer.args.device.type}, {precision}")
    if step:
        monitor.say(f"going on from step {step} in {trainer.run}")
        before = None if trainer.start is None else trainer.start.state.get("precision")
        if before not in (None, precision):
            monitor.say(f"note: up to there it was trained in {before}")
    try:
        yield
    finally:
        monitor.close()
        trainer.monitor = None


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the bars that transformers shows for every saved model."""
    shown = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            transformers_logging.enable_progress_bar()
