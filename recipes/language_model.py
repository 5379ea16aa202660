"""Options and stages that recipes of language models share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from almtok.codec.checkpoints import shipped
from almtok.core.choices import CODEC_HELP
from almtok.core.options import option
from almtok.lm.train import config as train

from .corpora import CorpusOptions
from .run import RecipeOptions, Stage

LOUDNESS = (
    "-20"  # dBFS; corpora differ in level by 10 dB, and a model would learn it as the speaker's
)


@dataclass(frozen=True, kw_only=True)
class LMRecipeOptions(CorpusOptions):
    """Audio, codec and model of a recipe."""

    codec: str = option("", CODEC_HELP, metavar="DIR")
    backbone: str = option(
        "", "pretrained text model to adapt by LoRA: hub id or folder", metavar="MODEL"
    )
    size: str = option("small", "size of a model without --backbone: tiny, mini, small")
    limit: int = option(500, "maximum number of test clips per domain")


def codec_or_shipped(codec: str) -> str:
    """Return the codec of the options, by default the one that comes with almtok."""
    return codec or str(shipped() / "codec")


def tokenize(
    o: RecipeOptions, name: str, what: str, sources: Sequence[str], codec: str, *options: str
) -> Stage:
    """Return the stage that encodes sources into ``OUT/NAME`` at one loudness."""
    words = ("lm", "tokenize", *sources, "--checkpoint", codec, "--loudness", LOUDNESS, *options)
    return Stage(name=name, what=what, command=(*words, "--out", str(Path(o.out, name))))


def lm_config(o: LMRecipeOptions, **ours: Any) -> train.LMTrainingConfig:
    """Return a training for one GPU. It was never run to its end.

    Args:
        o: options of the recipe.
        ours: fields that the recipe changes.
    """
    model: dict[str, Any] = {"preset": o.size}
    if o.backbone:
        model = {"backbone": o.backbone, "lora_rank": 32, "lora_audio": True, "merge": True}
    return train.pretrain(
        **{
            **model,
            "data": [str(Path(o.out, "tokens"))],
            "validation_data": [str(Path(o.out, "held-out"))],
            "codec": codec_or_shipped(o.codec),
            "out": str(Path(o.out, "lm")),
            "steps": 100_000,
            "batch_positions": 16_384,
            "lr": 5e-4 if not o.backbone else 3e-4,
            "warmup_steps": 1000,
            "max_seconds": 30.0,
            "checkpoint_every": 2000,
            "validate_every": 2000,
            **ours,
        }
    )


def lm_stages(o: LMRecipeOptions, config: train.LMTrainingConfig, *judge: str) -> list[Stage]:
    """Return the stages: encode the sources, train, evaluate.

    Args:
        o: options of the recipe.
        config: the training.
        judge: further options of ``almtok lm evaluate``.
    """
    codec = codec_or_shipped(o.codec)
    place = Path(o.out)
    scores = (
        *("lm", "evaluate", "--checkpoint", str(place / "lm"), "--data", *o.sources("test")),
        *("--limit", str(o.limit), *judge, "--html", "--out", str(place / "scores")),
    )
    return [
        tokenize(o, "tokens", "encode the corpus", o.sources("train"), codec),
        tokenize(o, "held-out", "encode held-out recordings", o.sources("valid"), codec),
        Stage(name="lm", what="train the language model", command=("lm", "train"), config=config),
        Stage(name="scores", what="evaluate on the test set", command=scores),
    ]
