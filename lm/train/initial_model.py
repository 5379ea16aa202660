"""The initial model of a run: from a preset, a pretrained text model, or an AudioLM."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig

from ...codec.model import ALMTokenizer
from ...core.loading import check_place
from ...core.reading import read_json_object
from ...core.size_limit import SizeLimit
from ...core.training.checkpoint import CheckpointError
from ...core.training.seeding import draw_int
from ..config import PRESETS, AudioLMConfig, depth_sizes
from ..data.dataset import paired_codes
from ..data.shards import ShardInfo
from ..initialization import initialize_tables, remap_codebooks
from ..model import AudioLM
from ..prefix_lm_mask import check_prefix_lm
from ..processor_files import NAME, read_processor
from ..text.encoder import TextEncoder
from ..text.tokenizer import (
    check_vocabulary,
    load_tokenizer,
    tokenizer_fingerprint,
    train_tokenizer,
)
from ..voices import add_voices
from .config import LMTrainingConfig
from .distillation import DistillationTeacher

# Fields of the configuration that may change when an AudioLM is trained further.
_CHANGEABLE = (
    "first_codebook_weight",
    "text_weight",
    "ctc_weight",
    "label_smoothing",
    "condition_dropout",
    "bidirectional_conditions",
    "supports_cloning",
)


@dataclass(frozen=True)
class InitialModel:
    """A model before its first step, and its text encoder."""

    lm: AudioLM
    texts: TextEncoder


def build_initial_model(
    config: LMTrainingConfig,
    info: ShardInfo,
    task_names: Iterable[str],
    make_texts: Callable[[], Iterable[str]],
    voices: Iterable[str] = (),
) -> InitialModel:
    """Build or load the initial model, deterministically.

    Args:
        config: of the run.
        info: metadata of the tokens.
        task_names: tasks of the run; new ones get a spare control token.
        make_texts: returns the texts to train a tokenizer on, if one is needed.
        voices: names of speakers; those that the model does not have become its last voices.

    Raises:
        ValueError: the model does not match the codec of the tokens.
        CheckpointError: an explicit source is missing.
    """
    torch.manual_seed(draw_int(config.seed, "init"))
    if config.init_from is not None:
        start = _from_audio_lm(config, config.init_from, info, task_names)
        add_voices(start.lm, voices)
        return start
    if config.preset not in PRESETS:
        AudioLMConfig.preset(config.preset)  # raises
    values = _new_fields(config, info, voices)
    source = config.tokenizer or config.backbone
    if source is None:
        tokenizer = _trained_tokenizer(config, make_texts)
        special = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
        values["backbone"] = {**special, "bos_token_id": None, **values.get("backbone", {})}
    else:
        tokenizer = load_tokenizer(source)
        if config.backbone is None:
            sizes = {"vocab_size": len(tokenizer), "eos_token_id": tokenizer.eos_token_id}
            values["backbone"] = {**sizes, "bos_token_id": None, **values.get("backbone", {})}
    values["tokenizer_fingerprint"] = tokenizer_fingerprint(tokenizer)
    if config.backbone is not None:
        with source_errors(config.backbone):
            lm_config = _around_backbone(config, config.backbone, values)
            _add_tasks(lm_config, task_names)
            lm = AudioLM.from_backbone(config.backbone, lm_config, dtype=torch.float32)
    else:
        lm_config = AudioLMConfig.preset(config.preset, **values)
        _add_tasks(lm_config, task_names)
        with SizeLimit.of_machine():
            lm = AudioLM(lm_config)
    if config.codec is not None and config.codec_start:
        _initialize_from_codec(lm, config.codec, config.seed)
    form: Any = config.text_form or "spoken"
    return InitialModel(lm, TextEncoder(tokenizer, form, config.text_language))


def _new_fields(config: LMTrainingConfig, info: ShardInfo, voices: Iterable[str]) -> dict[str, Any]:
    """Fields of the configuration of a new model, without the backbone's own."""
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
    if names := list(voices):
        values["voices"] = names
    if config.condition_dropout is not None:
        values["condition_dropout"] = config.condition_dropout
    return values


def _around_backbone(
    config: LMTrainingConfig, source: str, values: dict[str, Any]
) -> AudioLMConfig:
    """Configuration around a pretrained text model, whose width gives that of the depth part.

    A resumed run keeps its sizes.
    """
    backbone = AutoConfig.from_pretrained(check_place(source), trust_remote_code=False)
    sizes = depth_sizes(backbone.get_text_config().hidden_size)
    for folder in ("base", "model", "model/lm"):
        place = Path(config.out, folder, "config.json")
        if place.is_file():
            saved = read_json_object(place)
            sizes = {name: saved.get(name, size) for name, size in sizes.items()}
            break
    return AudioLMConfig(**{**sizes, **values, "backbone": backbone})


def build_teacher(
    config: LMTrainingConfig, lm: AudioLM, task_names: list[str]
) -> DistillationTeacher | None:
    """The teacher of `distill_tasks`; None without such tasks.

    Args:
        config: of the run.
        lm: the student.
        task_names: tasks of the run.

    Raises:
        ValueError: a task is not one of the run, or teacher and student do not match.
    """
    source = config.distill_from or config.init_from
    if not config.distill_tasks or source is None:
        return None
    unknown = [name for name in config.distill_tasks if name not in task_names]
    if unknown:
        raise ValueError(
            f"distill_tasks must be among the tasks of the run, {', '.join(task_names)}, got"
            f" {', '.join(unknown)}"
        )
    with source_errors(source):
        teacher = AudioLM.from_pretrained(model_folder(source), dtype=torch.float32)
    add_voices(teacher, lm.config.voices)
    for name in ("vocab_size", "codec_fingerprint", "pattern", "depth_delay", "voices"):
        expected, found = getattr(lm.config, name), getattr(teacher.config, name)
        if found != expected:
            raise ValueError(f"{name} of the teacher {source} must be {expected}, got {found}")
    return DistillationTeacher(teacher.to(lm.device), config.distill_tasks)


def model_folder(source: str) -> str:
    """The folder of a saved model in a run folder or checkpoint; hub ids are returned unchanged.

    Raises:
        CheckpointError: the path exists, but holds no language model.
    """
    folder = Path(source)
    if not folder.exists():
        return source
    candidates = [folder, folder / "model", folder / "lm"]
    if (folder / "state.json").exists():  # a checkpoint of a run
        candidates.append(folder.parent.parent / "model")
    for path in candidates:
        if (path / "config.json").is_file() and (path / "model.safetensors").is_file():
            return str(path)
    raise CheckpointError(f"no language model in {source}")


def _initialize_from_codec(lm: AudioLM, source: str, seed: int) -> None:
    codec = ALMTokenizer.from_pretrained(source).eval()
    if codec.fingerprint != lm.config.codec_fingerprint:
        raise ValueError(
            f"the tokens were made by codec {lm.config.codec_fingerprint}, got codec"
            f" {codec.fingerprint} in {source}"
        )
    initialize_tables(lm, codec, torch.Generator().manual_seed(draw_int(seed, "tables")))


def _format_level(dbfs: float | None) -> str:
    return "their original levels" if dbfs is None else f"{dbfs:g} dBFS"


def _from_audio_lm(
    config: LMTrainingConfig, source: str, info: ShardInfo, task_names: Iterable[str]
) -> InitialModel:
    folder = model_folder(source)
    with source_errors(source):
        lm = AudioLM.from_pretrained(folder, dtype=torch.float32)
    lm_config = lm.config
    sizes = (lm_config.num_codebooks, lm_config.codebook_size)
    if sizes != (info.num_codebooks, info.codebook_size):
        raise ValueError(
            f"{source} was trained on {sizes[0]} x {sizes[1]} codes, got tokens with"
            f" {info.num_codebooks} x {info.codebook_size}"
        )
    _match_codec(lm, config, source, info)
    _override_fields(lm_config, config, source)
    if config.condition_dropout is not None and not config.lora_rank:
        lm_config.condition_dropout = config.condition_dropout
    _add_tasks(lm_config, task_names)
    form, language = config.text_form, config.text_language
    if (Path(folder) / NAME).exists():
        files = read_processor(folder, {})
        form = form or files.text_form
        # A base without a language stays so, unless another than the default is asked for.
        default = config.language == LMTrainingConfig.language
        language = files.language if files.language or default else language
    tokenizer = load_tokenizer(config.tokenizer or folder)
    check_vocabulary(tokenizer, lm_config.vocab_size, lm_config.tokenizer_fingerprint)
    lm_config.tokenizer_fingerprint = tokenizer_fingerprint(tokenizer)
    return InitialModel(lm, TextEncoder(tokenizer, form or "spoken", language))  # type: ignore[arg-type]


def _override_fields(lm_config: AudioLMConfig, config: LMTrainingConfig, source: str) -> None:
    """Apply `config.model` to the configuration of a trained model."""
    for name, value in config.model.items():
        if name not in _CHANGEABLE:
            raise ValueError(f"{name} of the trained model {source} cannot be changed")
        if name == "bidirectional_conditions" and config.lora_rank:
            raise ValueError(
                "bidirectional_conditions cannot be changed with lora_rank: it belongs to the base"
            )
        setattr(lm_config, name, value)
    check_prefix_lm(lm_config)


def _match_codec(lm: AudioLM, config: LMTrainingConfig, source: str, info: ShardInfo) -> None:
    """Check that the tokens are of the model's codec, or adapt the model to their codec."""
    fingerprint = lm.config.codec_fingerprint
    if fingerprint not in (None, info.fingerprint):
        if not config.old_tokens:
            raise ValueError(
                f"{source} was trained on codes of codec {fingerprint}, got tokens of codec"
                f" {info.fingerprint}: give old_tokens, some of the recordings in codes of"
                f" {fingerprint}, to adapt the model"
            )
        pairs = paired_codes(config.old_tokens, config.data, codec=fingerprint)
        remap_codebooks(lm, *pairs)
    if fingerprint is not None and lm.config.loudness_dbfs != info.loudness_dbfs:
        raise ValueError(
            f"{source} was trained on recordings at {_format_level(lm.config.loudness_dbfs)}, got"
            f" tokens at {_format_level(info.loudness_dbfs)}: see 'almtok lm tokenize --loudness'"
        )
    lm.config.codec_fingerprint = info.fingerprint
    lm.config.loudness_dbfs = info.loudness_dbfs


def _add_tasks(config: AudioLMConfig, names: Iterable[str]) -> None:
    """Assign spare control tokens to new tasks, in order.

    Raises:
        ValueError: there are not enough spare tokens.
    """
    new = [name for name in names if name not in config.tasks]
    if len(config.tasks) + len(new) > config.num_task_slots:
        raise ValueError(
            f"the model has control tokens for {config.num_task_slots} tasks, got"
            f" {', '.join([*config.tasks, *new])}"
        )
    config.tasks = [*config.tasks, *new]


def _trained_tokenizer(config: LMTrainingConfig, make_texts: Callable[[], Iterable[str]]) -> Any:
    """Train the tokenizer of the run, or load it when the run is resumed.

    The first process trains it, the others wait for it.
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


class source_errors:  # noqa: N801  (a context manager)
    """Converts an OSError to a CheckpointError that names the source."""

    def __init__(self, source: str) -> None:
        self._source = source

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, OSError) and not isinstance(error, CheckpointError):
            raise CheckpointError(
                f"no initial model: {self._source} is neither a folder with a model nor a hub id"
                f" that can be loaded ({str(error).splitlines()[0]})"
            ) from error
