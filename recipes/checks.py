"""What the stages of a run need, checked before the first of them begins.

A stage may need what an earlier one writes; everything else must exist from the start: a later
stage would refuse it after hours.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig

from almtok.codec.losses.base import LossSetup, build_losses
from almtok.codec.priors.config import DEFAULT_LAYERS, FULL_CODEBOOK, TeacherSpec
from almtok.codec.priors.prior import load_prior
from almtok.codec.train.config import CodecTrainConfig
from almtok.codec.train.state import base_config
from almtok.core.data.entries import AudioEntry, check_hub_split
from almtok.core.data.manifests import list_entries
from almtok.core.data.sources import parse_source, split_domain
from almtok.core.data.split_files import estimated_hours
from almtok.core.reading import reading
from almtok.core.runtime import find_device
from almtok.lm.config import AudioLMConfig, depth_sizes
from almtok.lm.model import AudioLM
from almtok.lm.text.tokenizer import SMALLEST_VOCABULARY, load_tokenizer
from almtok.lm.train.config import LMTrainingConfig
from almtok.lm.train.corpus import find_tasks
from almtok.lm.train.initial_model import source_errors

from .corpora import CorpusOptions
from .division import divide
from .recordings import check_alphabet, check_files, check_recordings
from .requirements import check_disk, check_extras, check_folder
from .run import RecipeOptions, RecipeRun, Stage

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


def check_run(
    run: RecipeRun, stages: Sequence[Stage], *, write: bool = False, online: bool = True
) -> None:
    """Check the machine, recordings, devices, pretrained models and configurations of the stages.

    Args:
        run: The recipe with its options.
        stages: That are not done.
        write: Write the division of the recordings, where the recipe makes it.
        online: Look up the splits of hub datasets.

    Raises:
        ValueError: A stage would fail; the message names it.
        OSError: A pretrained model cannot be opened.
    """
    check_folder(run.out)
    sources = run.options.sources_by_part()
    parts = _recordings(run.options, sources, write, online)
    made = [stage.output for stage in run.stages if stage.output is not None]
    weights = 0
    for stage in stages:
        try:
            check_extras(stage)
            weights = max(weights, _check_stage(stage, run.stages, made))
            if isinstance(stage.config, LMTrainingConfig):
                check_recordings(stage.config, parts, sources)
                check_alphabet(stage.config, parts.get("train", []))
        except ValueError as error:
            raise ValueError(f"stage {stage.name}: {error}") from error
    hours = estimated_hours([entry for entries in parts.values() for entry in entries])
    check_disk(run.out, stages, hours or 0.0, weights)


def _recordings(
    options: RecipeOptions, sources: dict[str, list[str]], write: bool, online: bool
) -> dict[str, list[AudioEntry]]:
    """Open all sources; recordings by part, without parts that have hub datasets."""
    if isinstance(options, CorpusOptions) and options.divides_itself:
        divided = divide(options, write=write)
        check_files("train", [entry for entries in divided.values() for entry in entries])
        return divided
    parts: dict[str, list[AudioEntry]] = {}
    for part, given in sources.items():
        hubs = [parse_source(text) for text in given if split_domain(text)[1].startswith("hf:")]
        for hub in hubs if online else ():
            check_hub_split(hub.location, hub.split or "train")
        own = [text for text in given if not split_domain(text)[1].startswith("hf:")]
        found = list_entries(own, transcripts=True) if own else []
        check_files(part, found)
        if not hubs:
            parts[part] = found
    return parts


def _check_stage(stage: Stage, stages: Sequence[Stage], made: Sequence[Path]) -> int:
    """Check one stage; return the number of weights that it trains, 0 if that is not known."""
    config: Any = stage.config
    if stage.command[:2] == ("codec", "prior"):
        _check_teachers(stage.command, made)
    if config is None:
        find_device(stage.device)
        return 0
    find_device(config.device)
    named = [getattr(config, name, None) for name in _INPUTS]
    if isinstance(config, LMTrainingConfig):  # a codec's data are sources of the options
        named += [path for name in _INPUT_LISTS for path in getattr(config, name)]
    for path in named:
        _check_path(path, made)
    if isinstance(config, CodecTrainConfig):
        _check_codec(config, stages)
    elif isinstance(config, LMTrainingConfig):
        return _check_language_model(config)
    return 0


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


def _check_language_model(config: LMTrainingConfig) -> int:
    find_tasks(config)
    if config.init_from is not None:
        return 0
    if config.backbone is None:
        lm_config = AudioLMConfig.preset(config.preset, **config.model)
        if config.tokenizer is None and lm_config.vocab_size < SMALLEST_VOCABULARY:
            raise ValueError(
                f"vocab_size must be at least {SMALLEST_VOCABULARY} for a tokenizer that is trained"
                f" on the texts, got {lm_config.vocab_size}"
            )
    else:
        with source_errors(config.backbone):
            backbone = AutoConfig.from_pretrained(config.backbone, trust_remote_code=False)
            load_tokenizer(config.tokenizer or config.backbone)
        sizes = depth_sizes(backbone.get_text_config().hidden_size)
        lm_config = AudioLMConfig(**{**sizes, **config.model, "backbone": backbone})
    with torch.device("meta"):  # shapes only
        lm = AudioLM(lm_config)
    return sum(weight.numel() for weight in lm.parameters())
