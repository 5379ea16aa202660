"""What a run begins from: a size, a pretrained text model, or a language model of ours."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ...codec.model import ALMTokenizer
from ...core.training.checkpoint import CheckpointError
from ...core.training.seeding import draw_int
from ..config import PRESETS, AudioLMConfig
from ..data.dataset import paired_codes
from ..data.shards import ShardInfo
from ..initialization import initialize_tables
from ..model import AudioLM
from ..prefix_lm_mask import check_prefix_lm
from ..processor_files import NAME, read_processor
from ..remap_codebooks import remap_codebooks
from ..text.encoder import TextEncoder
from ..text.tokenizer import load_tokenizer, train_tokenizer
from .config import LMTrainingConfig
from .distillation import DistillationTeacher

# What a model that goes on may do otherwise: its losses, and what its conditions see.
_CHANGEABLE = (
    "first_codebook_weight",
    "text_weight",
    "ctc_weight",
    "condition_dropout",
    "bidirectional_conditions",
)


@dataclass(frozen=True)
class InitialModel:
    """A model before its first step, and how it reads texts."""

    lm: AudioLM
    texts: TextEncoder


def build_initial_model(
    config: LMTrainingConfig,
    info: ShardInfo,
    task_names: Iterable[str],
    make_texts: Callable[[], Iterable[str]],
) -> InitialModel:
    """Build or load the model; the same call gives the same weights.

    Args:
        config: of the run.
        info: of the tokens.
        task_names: of the run; new ones take a spare control token.
        make_texts: to train a tokenizer on, if one has to be made.

    Raises:
        ValueError: the model belongs to another codec than the tokens, or takes other codes.
        CheckpointError: an explicit source is missing.
    """
    torch.manual_seed(draw_int(config.seed, "init"))
    if config.init_from is not None:
        return _from_ours(config, config.init_from, info, task_names)
    if config.preset not in PRESETS:
        AudioLMConfig.preset(config.preset)  # its error lists the names
    codec = {
        "num_codebooks": info.num_codebooks,
        "codebook_size": info.codebook_size,
        "codec_fingerprint": info.fingerprint,
        "loudness_dbfs": info.loudness_dbfs,
    }
    for name, value in codec.items():
        if config.model.get(name, value) != value:
            raise ValueError(f"{name} must be {value}, as in the tokens, got {config.model[name]}")
    values = {**config.model, **codec}
    if config.condition_dropout is not None:
        values["condition_dropout"] = config.condition_dropout
    source = config.tokenizer or config.backbone
    if source is None:
        tokenizer = _own_tokenizer(config, make_texts)
        ends = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
        values["backbone"] = {**ends, "bos_token_id": None, **values.get("backbone", {})}
    else:
        tokenizer = load_tokenizer(source)
        if config.backbone is None:
            sizes = {"vocab_size": len(tokenizer), "eos_token_id": tokenizer.eos_token_id}
            values["backbone"] = {**sizes, "bos_token_id": None, **values.get("backbone", {})}
    lm_config = AudioLMConfig.preset(config.preset, **values)
    _add_tasks(lm_config, task_names)
    if config.backbone is not None:
        with _named(config.backbone):
            lm = AudioLM.from_backbone(config.backbone, lm_config, dtype=torch.float32)
    else:
        lm = AudioLM(lm_config)
    if config.codec is not None and config.codec_start:
        _start_tables(lm, config.codec, config.seed)
    return InitialModel(lm, TextEncoder(tokenizer, config.text_form or "spoken", config.language))  # type: ignore[arg-type]


def build_teacher(
    config: LMTrainingConfig, lm: AudioLM, task_names: list[str]
) -> DistillationTeacher | None:
    """The model before, for the tasks that are to stay; None where none are.

    Args:
        config: of the run.
        lm: what learns.
        task_names: of the run.

    Raises:
        ValueError: a task is not among those of the run, or the models do not speak alike.
    """
    source = config.distill_from or config.init_from
    if not config.distill_tasks or source is None:
        return None
    strange = [name for name in config.distill_tasks if name not in task_names]
    if strange:
        raise ValueError(
            f"distill_tasks must be among the tasks of the run, {', '.join(task_names)}, got"
            f" {', '.join(strange)}"
        )
    with _named(source):
        known = AudioLM.from_pretrained(model_folder(source), dtype=torch.float32)
    for name in ("vocab_size", "codec_fingerprint", "pattern"):
        theirs, ours = getattr(known.config, name), getattr(lm.config, name)
        if theirs != ours:
            raise ValueError(f"{source} has {name} {theirs}, the model that learns of it {ours}")
    return DistillationTeacher(known.to(lm.device), config.distill_tasks)


def model_folder(source: str) -> str:
    """The folder of a saved model that a path means, or a hub id as it is.

    Raises:
        CheckpointError: the path exists, but holds no language model.
    """
    folder = Path(source)
    if not folder.exists():
        return source
    for place in (folder, folder / "model", folder / "lm", folder.parent.parent / "model"):
        is_checkpoint = (folder / "state.json").exists()
        if place == folder.parent.parent / "model" and not is_checkpoint:
            continue
        if (place / "config.json").is_file() and (place / "model.safetensors").is_file():
            return str(place)
    raise CheckpointError(f"no language model to begin from: {source} holds none")


def _start_tables(lm: AudioLM, source: str, seed: int) -> None:
    codec = ALMTokenizer.from_pretrained(source).eval()
    if codec.fingerprint != lm.config.codec_fingerprint:
        raise ValueError(
            f"the codec {source} has fingerprint {codec.fingerprint}, the tokens were made by codec"
            f" {lm.config.codec_fingerprint}"
        )
    initialize_tables(lm, codec, torch.Generator().manual_seed(draw_int(seed, "tables")))


def _level(dbfs: float | None) -> str:
    return "their original levels" if dbfs is None else f"{dbfs:g} dBFS"


def _from_ours(
    config: LMTrainingConfig, source: str, info: ShardInfo, task_names: Iterable[str]
) -> InitialModel:
    folder = model_folder(source)
    with _named(source):
        lm = AudioLM.from_pretrained(folder, dtype=torch.float32)
    known = lm.config
    if (known.num_codebooks, known.codebook_size) != (info.num_codebooks, info.codebook_size):
        raise ValueError(
            f"{source} takes {known.num_codebooks} x {known.codebook_size} codes, the tokens have"
            f" {info.num_codebooks} x {info.codebook_size}"
        )
    _meet_codec(lm, config, source, info)
    _change(known, config, source)
    if config.condition_dropout is not None and not config.lora_rank:
        known.condition_dropout = config.condition_dropout
    _add_tasks(known, task_names)
    form, language = config.text_form, config.language
    if (Path(folder) / NAME).exists():
        files = read_processor(folder, {})
        form, language = form or files.text_form, files.language or language
    tokenizer = load_tokenizer(config.tokenizer or folder)
    return InitialModel(lm, TextEncoder(tokenizer, form or "spoken", language))  # type: ignore[arg-type]


def _change(known: AudioLMConfig, config: LMTrainingConfig, source: str) -> None:
    """Change what can be changed of a model that there is."""
    for name, value in config.model.items():
        if name not in _CHANGEABLE:
            raise ValueError(f"{source} is a model already: its {name} cannot be changed")
        if name == "bidirectional_conditions" and config.lora_rank:
            raise ValueError(
                "bidirectional_conditions belongs to the base of an adapter, which stays as it is:"
                " train without lora_rank, or without it"
            )
        setattr(known, name, value)
    check_prefix_lm(known)


def _meet_codec(lm: AudioLM, config: LMTrainingConfig, source: str, info: ShardInfo) -> None:
    """See that the model speaks the codes of the tokens, or let it move to them."""
    known = lm.config
    if known.codec_fingerprint not in (None, info.fingerprint):
        if not config.old_tokens:
            raise ValueError(
                f"{source} speaks the codes of codec {known.codec_fingerprint}, the tokens were"
                f" made by codec {info.fingerprint}: their codes do not mean the same sounds. It"
                " moves to them if old_tokens has some of the recordings in the codes it speaks"
            )
        pairs = paired_codes(config.old_tokens, config.data, codec=known.codec_fingerprint)
        remap_codebooks(lm, *pairs)
    if known.codec_fingerprint is not None and known.loudness_dbfs != info.loudness_dbfs:
        raise ValueError(
            f"{source} learned from recordings at {_level(known.loudness_dbfs)}, these tokens are"
            f" at {_level(info.loudness_dbfs)}: see 'almtok lm tokenize --loudness'"
        )
    known.codec_fingerprint = info.fingerprint
    known.loudness_dbfs = info.loudness_dbfs


def _add_tasks(config: AudioLMConfig, names: Iterable[str]) -> None:
    """New tasks take spare control tokens, in the order in which they come.

    Raises:
        ValueError: there is no token left.
    """
    new = [name for name in names if name not in config.tasks]
    if len(config.tasks) + len(new) > config.num_task_slots:
        raise ValueError(
            f"the model has control tokens for {config.num_task_slots} tasks: there is none for"
            f" {', '.join(new)} beside {', '.join(config.tasks)}"
        )
    config.tasks = [*config.tasks, *new]


def _own_tokenizer(config: LMTrainingConfig, make_texts: Callable[[], Iterable[str]]) -> Any:
    """The run's own tokenizer: trained when the run begins, found there when it goes on.

    The first process makes it; the others wait for it.
    """
    from accelerate import PartialState

    place = Path(config.out) / "tokenizer"
    with PartialState().main_process_first():
        if not place.exists():
            backbone = config.model.get("backbone", {})
            size = backbone.get("vocab_size", PRESETS[config.preset]["backbone"]["vocab_size"])
            aside = place.with_name(f"tokenizer.tmp-{os.getpid()}")
            shutil.rmtree(aside, ignore_errors=True)
            train_tokenizer(make_texts(), vocab_size=size).save_pretrained(aside)
            os.replace(aside, place)
    return load_tokenizer(place)


class _named:
    """Says which source it was that could not be read."""

    def __init__(self, source: str) -> None:
        self._source = source

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, OSError) and not isinstance(error, CheckpointError):
            raise CheckpointError(
                f"no model to begin from: {self._source} is neither a folder with one nor a hub"
                f" id that can be read ({str(error).splitlines()[0]})"
            ) from error
