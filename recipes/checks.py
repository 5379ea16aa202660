"""What the stages of a run need, checked before the first of them begins.

A stage may need what an earlier one writes; everything else must exist from the start: a later
stage would refuse it after hours.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig

from almtok.codec.losses.base import LossSetup, build_losses
from almtok.codec.priors.config import DEFAULT_LAYERS, FULL_CODEBOOK, TeacherSpec
from almtok.codec.priors.prior import load_prior
from almtok.codec.train.config import CodecTrainConfig
from almtok.codec.train.state import base_config
from almtok.core.data.entries import check_hub_split
from almtok.core.data.manifests import list_entries
from almtok.core.data.sources import parse_source
from almtok.core.reading import reading
from almtok.core.runtime import find_device
from almtok.lm.config import AudioLMConfig, depth_sizes
from almtok.lm.model import AudioLM
from almtok.lm.text.tokenizer import load_tokenizer
from almtok.lm.train.config import LMTrainingConfig
from almtok.lm.train.corpus import find_tasks
from almtok.lm.train.initial_model import source_errors

from .run import RecipeRun, Stage

# Fields of trainings that name files or folders.
_INPUTS = (
    "init_from",
    "prior",
    "phoneme_classifier",
    "heads_from",
    "model_config",
    "distill_from",
    "codec",
)
_INPUT_LISTS = ("data", "validation_data", "old_tokens", "texts")


def check_run(run: RecipeRun, stages: Sequence[Stage]) -> None:
    """Check sources, devices, pretrained models and configurations of the stages.

    Raises:
        ValueError: A stage would fail; the message names it.
        OSError: A pretrained model cannot be opened.
    """
    texts = {part: _has_texts(sources) for part, sources in run.options.sources_by_part().items()}
    made = [stage.output for stage in run.stages if stage.output is not None]
    for stage in stages:
        try:
            _check_stage(stage, run.stages, made)
            if isinstance(stage.config, LMTrainingConfig):
                _check_texts(stage.config, texts)
        except ValueError as error:
            raise ValueError(f"stage {stage.name}: {error}") from error


def _has_texts(sources: Iterable[str]) -> bool:
    """Open sources; whether one of them has texts (of a hub dataset this is not read)."""
    known = False
    for text in sources:
        source = parse_source(text)
        if source.hub:
            check_hub_split(source.location, source.split or "train")
            known = True
        else:
            known = any(entry.text for entry in list_entries([text], transcripts=True)) or known
    return known


def _check_texts(config: LMTrainingConfig, texts: dict[str, bool]) -> None:
    needing = [item.task.name for item in find_tasks(config) if item.needs_text]
    for part, found in texts.items():
        if needing and not found and part in ("train", "voice"):
            raise ValueError(f"no recording of --{part} has a text, which {needing[0]} needs")


def _check_stage(stage: Stage, stages: Sequence[Stage], made: Sequence[Path]) -> None:
    config: Any = stage.config
    if stage.command[:2] == ("codec", "prior"):
        _check_teachers(stage.command, made)
    if config is None:
        find_device(stage.device)
        return
    find_device(config.device)
    named = [getattr(config, name, None) for name in _INPUTS]
    if isinstance(config, LMTrainingConfig):  # a codec's data are sources of the options
        named += [path for name in _INPUT_LISTS for path in getattr(config, name)]
    for path in named:
        _check_path(path, made)
    if isinstance(config, CodecTrainConfig):
        _check_codec(config, stages)
    elif isinstance(config, LMTrainingConfig):
        _check_language_model(config)


def _check_path(path: str | None, made: Sequence[Path]) -> None:
    """Refuse a path that neither exists nor is written by a stage."""
    if path is None or Path(path).exists():
        return
    if not any(place == Path(path) or place in Path(path).parents for place in made):
        raise ValueError(f"{path} does not exist, and no stage of the recipe writes it")


def _check_teachers(command: Sequence[str], made: Sequence[Path]) -> None:
    for option in ("--teacher-speech", "--teacher-sound"):
        _check_teacher(TeacherSpec.parse(command[command.index(option) + 1]), made)


def _check_teacher(spec: TeacherSpec, made: Sequence[Path]) -> None:
    if spec.kind in ("beats", "phonemes"):
        _check_path(spec.source, made)
    elif spec.kind != "spectral":
        with reading(spec.source):
            found = AutoConfig.from_pretrained(spec.source, trust_remote_code=False)
            if found.model_type != spec.kind:
                raise ValueError(
                    f"model_type of {spec.source} must be {spec.kind!r}, got {found.model_type!r}"
                )
            if spec.kind != "whisper" and found.num_hidden_layers < max(DEFAULT_LAYERS):
                raise ValueError(
                    f"{spec.source} must have at least {max(DEFAULT_LAYERS)} layers, got"
                    f" {found.num_hidden_layers}"
                )


def _check_codec(config: CodecTrainConfig, stages: Sequence[Stage]) -> None:
    model = base_config(config)
    frozen = [spec for spec in config.losses if spec.needs_phonemes or spec.needs_teacher]
    build_losses([spec for spec in config.losses if spec not in frozen], LossSetup(config, model))
    if config.teacher_speech is not None and any(spec.needs_teacher for spec in frozen):
        _check_teacher(TeacherSpec.parse(config.teacher_speech), [])
    if config.prior is None or config.stage != "2":
        return
    if model.prior_codebooks == "none":
        raise ValueError("prior_codebooks must be 'first' or 'all' for a prior, got 'none'")
    if Path(config.prior).exists():
        size = load_prior(config.prior).codebook_size
    else:
        (command,) = (stage.command for stage in stages if stage.output == Path(config.prior))
        asked = dict(itertools.pairwise(command)).get("--codebook-size", FULL_CODEBOOK)
        size = int(asked)
    if size != model.codebook_size:
        raise ValueError(
            f"codebook_size must be {size}, as in the prior {config.prior}, got"
            f" {model.codebook_size}"
        )


def _check_language_model(config: LMTrainingConfig) -> None:
    find_tasks(config)
    if config.init_from is not None:
        return
    if config.backbone is None:
        lm_config = AudioLMConfig.preset(config.preset, **config.model)
    else:
        with source_errors(config.backbone):
            backbone = AutoConfig.from_pretrained(config.backbone, trust_remote_code=False)
            load_tokenizer(config.tokenizer or config.backbone)
        sizes = depth_sizes(backbone.get_text_config().hidden_size)
        lm_config = AudioLMConfig(**{**sizes, **config.model, "backbone": backbone})
    with torch.device("meta"):  # shapes only
        AudioLM(lm_config)
