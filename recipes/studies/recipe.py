"""The paper's analyses, at a size of your choice: what each part of the codec is worth.

ablations: the same training without one part after another. rates: one codec at 37.5, 25 and
12.5 Hz. tokens: how well a language model predicts each layer of codes, with and without the AR
loss. priors: the same and what the first code says, with a first codebook of spectra, of a
listener's states, and with one that learns as the others do. (Patterns of codes side by side:
recipes/multitask/patterns.py.)
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from almtok.codec.config import ALMTokenizerConfig
from almtok.codec.train.config import CodecTrainConfig
from almtok.core.training.config import option
from almtok.lm.train import config as lm_train

from ..codec import recipe as codec
from ..corpora import CorpusOptions
from ..language import tokenize
from ..run import Stage

STUDIES = ("ablations", "rates", "tokens", "priors")
# paper.md 7.2: what is taken away, in fields of stage 2.
ABLATIONS: dict[str, dict[str, Any]] = {
    "whole": {},
    "no-masked": {"weight_masked": 0.0},
    "no-autoregressive": {"weight_autoregressive": 0.0},
    "no-prior": {"prior": None, "model": {"prior_codebooks": "none"}},
    "one-stage": {"init_from": None, "freeze_patchify": False},
}
# Whose codes language models learn: with and without the AR loss, and by first codebook.
TOKENS = ("whole", "no-autoregressive")
PRIORS = ("whole", "listener-prior", "no-prior")
# Frames of 1/75 s per query: 37.5, 25 and 12.5 Hz (the paper has 50, 25 and 12.5).
RATES = (2, 3, 6)


@dataclass(frozen=True, kw_only=True)
class Options(CorpusOptions):
    """Which study, on which audio, at which size."""

    study: list[str] = option(["ablations"], "ablations, rates, tokens, priors")
    size: str = option("mini", "preset of the codec: tiny, mini, base, paper")
    steps: int = option(2000, "of each training of stage 2; a quarter of it for stage 1")
    listener: str = option("", "for priors: a listener's file (default: one is trained)")


def stage1(o: Options) -> CodecTrainConfig:
    """What all variants begin from."""
    given = (o.sources("train"), o.sources("valid"), o.out)
    return codec.mini_stage1(*given, preset=o.size, steps=max(1, o.steps // 4))


def variant(o: Options, name: str, **changes: Any) -> CodecTrainConfig:
    """Stage 2 with the paper's losses, and one change."""
    given = (o.sources("train"), o.sources("valid"), o.out)
    model = {"unpatchify": "mirror", "frames_per_query_range": [min(RATES), 8]}
    ours: dict[str, Any] = {
        "preset": o.size,
        "steps": o.steps,
        "quantize_start": o.steps // 8,
        "weight_masked": 0.1,
        "weight_autoregressive": 0.1,
        "weight_pitch": 0.0,
        "weight_time": 0.1,
        "model": {**model, **changes.pop("model", {})},
    }
    config = codec.mini_stage2(*given, **{**ours, **changes})
    return dataclasses.replace(config, out=str(Path(o.out, name)))


def language_model(o: Options, name: str) -> lm_train.LMTrainingConfig:
    """A small model of the codes of one variant."""
    return lm_train.pretrain(
        preset="mini",
        data=[str(Path(o.out, f"{name}-tokens"))],
        validation_data=[str(Path(o.out, f"{name}-held-out"))],
        tasks=["continuation"],
        out=str(Path(o.out, f"{name}-lm")),
        steps=o.steps,
        batch_positions=3072,
        samples=0,
    )


def stages(o: Options) -> list[Stage]:
    """The first codebook and stage 1 once, then every variant, then one table."""
    for study in o.study:
        if study not in STUDIES:
            raise ValueError(f"unknown study {study!r}; there are {', '.join(STUDIES)}")
    names = dict.fromkeys(ABLATIONS if "ablations" in o.study else ["whole"])
    names |= dict.fromkeys(TOKENS if "tokens" in o.study else ())
    names |= dict.fromkeys(PRIORS if "priors" in o.study else ())
    place = Path(o.out)
    shape = ALMTokenizerConfig.preset(o.size)
    prior = (
        *("codec", "prior", "--data", *o.sources("train"), "--cache", str(place / "cache")),
        *("--codebook-size", str(shape.codebook_size), "--spectral-width", str(shape.prior_dim)),
    )
    first = stage1(o)
    found = [
        Stage(
            name="prior",
            what="the first codebook",
            command=(*prior, "--out", str(place / "prior.safetensors")),
        ),
        *(_listener_stages(o, prior) if "priors" in o.study else ()),
        Stage(name="stage1", what="waveform to frames", command=("codec", "train"), config=first),
    ]
    changes = {**ABLATIONS, "listener-prior": {"prior": str(place / "listener-prior.safetensors")}}
    for name in names:
        config = variant(o, name, **changes[name])
        found.append(Stage(name=name, what=_what(name), command=("codec", "train"), config=config))
    if "ablations" in o.study:
        found.append(_scores(o, "scores", list(ABLATIONS), RATES[-1:]))
    if "rates" in o.study:
        found.append(_scores(o, "rates", ["whole"], RATES))
    for name in {**dict.fromkeys(TOKENS), **dict.fromkeys(PRIORS)}:
        if ("tokens" in o.study and name in TOKENS) or ("priors" in o.study and name in PRIORS):
            found += _token_stages(o, name)
    if "tokens" in o.study:
        found.append(_table(o, "tokens", "how well each layer of codes is predicted", TOKENS))
    if "priors" in o.study:
        found.append(_table(o, "priors", "the same by prior", PRIORS))
        found.append(_first_codes(o))
    return found


def _listener_stages(o: Options, prior: Sequence[str]) -> list[Stage]:
    """A listener of the same recordings, and the prior of its states."""
    path = o.listener or str(Path(o.out, "listener.safetensors"))
    teacher = ("--teacher-speech", f"listener:{path}", "--widths", "project")
    return [
        *([] if o.listener else [codec.listener_stage(o.sources("train"), path)]),
        Stage(
            name="listener-prior-file",
            what="a first codebook of its states",
            command=(*prior, *teacher, "--out", str(Path(o.out, "listener-prior.safetensors"))),
        ),
    ]


def _what(name: str) -> str:
    return "the whole training" if name == "whole" else f"the same, {name.replace('-', ' ')}"


def _scores(o: Options, name: str, variants: Sequence[str], rates: Sequence[int]) -> Stage:
    data = [word for source in o.sources("test") for word in ("--data", source)]
    checkpoints = [
        word for one in variants for word in ("--checkpoint", str(Path(o.out, one, "model")))
    ]
    how = ("--frames-per-query", *map(str, rates), "--limit", "50")
    command = ("codec", "evaluate", *checkpoints, *data, *how, "--out", str(Path(o.out, name)))
    return Stage(name=name, what="the same clips through each of them", command=command)


def _token_stages(o: Options, name: str) -> list[Stage]:
    model = str(Path(o.out, name, "model"))
    return [
        tokenize(o, f"{name}-tokens", "to codes", o.sources("train"), model),
        tokenize(o, f"{name}-held-out", "held-out recordings", o.sources("valid"), model),
        Stage(
            name=f"{name}-lm",
            what="a language model of these codes",
            command=("lm", "train"),
            config=language_model(o, name),
        ),
    ]


def _table(o: Options, name: str, what: str, variants: Sequence[str]) -> Stage:
    runs = [str(Path(o.out, f"{one}-lm")) for one in variants]
    return Stage(
        name=name,
        what=what,
        program="almtok.recipes.studies.layers:main",
        command=(*runs, "--out", str(Path(o.out, f"{name}.md"))),
    )


def _first_codes(o: Options) -> Stage:
    codecs = [str(Path(o.out, one, "model")) for one in PRIORS]
    return Stage(
        name="first-codes",
        what="which phone the first code names",
        program="almtok.recipes.studies.first_codes:main",
        program_takes_device=True,
        command=(*codecs, "--data", *o.sources("test"), "--out", f"{o.out}/first-codes.md"),
    )
