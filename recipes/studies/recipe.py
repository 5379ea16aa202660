"""The paper's analyses, at a size of your choice: what each part of the codec is worth.

ablations: the same training without one part after another. rates: one codec at 37.5, 25 and
12.5 Hz. tokens: how well a language model predicts each layer of codes, with and without the AR
loss. (Patterns of codes side by side: recipes/multitask/patterns.py.)
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from almtok.codec.train.config import CodecTrainConfig
from almtok.codec.train.run_config import option
from almtok.lm.train import config as lm_train

from ..codec import recipe as codec
from ..corpora import CorpusOptions
from ..language import tokenize
from ..story import Stage

STUDIES = ("ablations", "rates", "tokens")
# paper.md 6: what is taken away, in fields of stage 2.
ABLATIONS: dict[str, dict[str, Any]] = {
    "whole": {},
    "no-masked": {"weight_masked": 0.0},
    "no-autoregressive": {"weight_autoregressive": 0.0},
    "no-prior": {"prior": None, "model": {"prior_codebooks": "none"}},
    "one-stage": {"init_from": None, "freeze_patchify": False},
}
# Frames of 1/75 s per query: 37.5, 25 and 12.5 Hz (the paper has 50, 25 and 12.5).
RATES = (2, 3, 6)


@dataclass(frozen=True, kw_only=True)
class Options(CorpusOptions):
    """Which study, on which audio, at which size."""

    study: list[str] = option(["ablations"], "ablations, rates, tokens")
    size: str = option("mini", "preset of the codec: tiny, mini, base, paper")
    steps: int = option(2000, "of each training of stage 2; a quarter of it for stage 1")


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
        precision="bf16",
        samples=0,
    )


def stages(o: Options) -> list[Stage]:
    """The first codebook and stage 1 once, then every variant, then one table."""
    for study in o.study:
        if study not in STUDIES:
            raise ValueError(f"unknown study {study!r}; there are {', '.join(STUDIES)}")
    names = list(ABLATIONS) if "ablations" in o.study else ["whole"]
    if "tokens" in o.study and "no-autoregressive" not in names:
        names.append("no-autoregressive")
    place = Path(o.out)
    prior = ("prior", "--data", *o.sources("train"), "--cache", str(place / "cache"))
    first = stage1(o)
    found = [
        Stage(
            name="prior",
            what="the first codebook",
            command=(*prior, "--out", str(place / "prior.safetensors")),
        ),
        Stage(name="stage1", what="waveform to frames", command=("train", "codec"), config=first),
    ]
    for name in names:
        config = variant(o, name, **ABLATIONS[name])
        found.append(Stage(name=name, what=_what(name), command=("train", "codec"), config=config))
    if "ablations" in o.study:
        found.append(_scores(o, "scores", names, RATES[-1:]))
    if "rates" in o.study:
        found.append(_scores(o, "rates", ["whole"], RATES))
    if "tokens" in o.study:
        found += _token_stages(o)
    return found


def _what(name: str) -> str:
    return "the whole training" if name == "whole" else f"the same, {name.replace('-', ' ')}"


def _scores(o: Options, name: str, variants: Sequence[str], rates: Sequence[int]) -> Stage:
    data = [word for source in o.sources("test") for word in ("--data", source)]
    checkpoints = [
        word for one in variants for word in ("--checkpoint", str(Path(o.out, one, "model")))
    ]
    how = ("--frames-per-query", *map(str, rates), "--limit", "50")
    command = ("evaluate", "codec", *checkpoints, *data, *how, "--out", str(Path(o.out, name)))
    return Stage(name=name, what="the same clips through each of them", command=command)


def _token_stages(o: Options) -> list[Stage]:
    found = []
    pair = ("whole", "no-autoregressive")
    for name in pair:
        model = str(Path(o.out, name, "model"))
        found += [
            tokenize(o, f"{name}-tokens", "to codes", o.sources("train"), model),
            tokenize(o, f"{name}-held-out", "held-out recordings", o.sources("valid"), model),
            Stage(
                name=f"{name}-lm",
                what="a language model of these codes",
                command=("train", "lm"),
                config=language_model(o, name),
            ),
        ]
    runs = [str(Path(o.out, f"{name}-lm")) for name in pair]
    table = str(Path(o.out, "tokens.md"))
    found.append(
        Stage(
            name="tokens",
            what="how well each layer of codes is predicted",
            program="almtok.recipes.studies.layers:main",
            command=(*runs, "--out", table),
        )
    )
    return found
