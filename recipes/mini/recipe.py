"""A tiny codec from nothing, in minutes of CPU: corpus, first codebook, both stages, report.

Every number of `make demo`. It is data; the loops live in the library. A variant calls one of these
and changes fields: ``stage1("runs/long", steps=20_000)``.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from almtok.codec.train import config as train
from almtok.codec.train.run_config import option

from ..story import RecipeOptions, Stage

CORPUS_MINUTES = 8.0
PRESET = "tiny"
# Of the preset: the prior has to fit the first codebook.
CODEBOOK_SIZE, PRIOR_DIM = 256, 128
STAGE1_STEPS, STAGE2_STEPS = 400, 1000


def source(out: str | Path, split: str) -> str:
    """One split (train, valid, test) of the corpus; its rows know their domain."""
    return f"{Path(out, 'corpus', 'manifest.jsonl')}:{split}"


def prior(out: str | Path) -> list[str]:
    """Arguments of ``almtok prior``: a small first codebook from spectra, no download."""
    return [
        *("--data", source(out, "train")),
        *("--teacher-speech", "spectral", "--teacher-sound", "spectral"),
        *("--codebook-size", str(CODEBOOK_SIZE), "--spectral-width", str(PRIOR_DIM)),
        *("--out", str(Path(out, "prior.safetensors"))),
    ]


def stage1(out: str | Path, **changes: Any) -> train.CodecTrainConfig:
    """Waveform to frames and back, no codes yet (paper.md 5.2, 1)."""
    return train.stage1(**{**_common(out, "stage1", STAGE1_STEPS), **changes})


def stage2(out: str | Path, **changes: Any) -> train.CodecTrainConfig:
    """Queries and codebooks on the frames of stage 1 (paper.md 5.2, 2)."""
    steps = changes.get("steps", STAGE2_STEPS)
    special = {
        "init_from": str(Path(out, "stage1")),
        "prior": str(Path(out, "prior.safetensors")),
        "segment_seconds": 2.0,
        "quantize_start": steps * 3 // 10,
        "balancer": False,
        "muon_lr": 6e-3,
        "weight_latent": 0.1,  # a nearer target: a small budget cannot wait for mel
        "weight_spectrum": 1.0,  # queries that carry more than loudness
        # No code of this rate can say which noise it was, only its envelope.
        "mel": {"windows": [256, 512, 1024, 2048], "mels": [16, 24, 40, 80]},
        "weight_masked": 0.0,
        "weight_commitment": 0.2,
        "weight_autoregressive": 0.01,  # more would pay for predictable codes with poorer ones
    }
    return train.stage2(**{**_common(out, "stage2", STAGE2_STEPS), **special, **changes})


def evaluation(out: str | Path) -> list[str]:
    """Arguments of ``almtok evaluate codec``: the held-out clips, and the report."""
    return [
        *("--checkpoint", str(Path(out, "codec"))),
        *("--data", source(out, "test")),
        *("--limit", "12", "--report", "--out", str(out)),
    ]


@dataclass(frozen=True, kw_only=True)
class Options(RecipeOptions):
    """How long, and which corpus."""

    seed: int = option(0, "of the corpus")
    scale: float = option(1.0, "times the training steps of the recipe")

    def __post_init__(self) -> None:
        if self.scale <= 0:
            raise ValueError(f"scale must be positive, got {self.scale}")


def stages(o: Options) -> list[Stage]:
    """From nothing to a report."""
    out, minutes = Path(o.out), max(0.5, CORPUS_MINUTES * min(1.0, o.scale))

    def train_codec(name: str, what: str, make: Any, steps: int) -> Stage:
        config = make(out, steps=max(2, round(steps * o.scale)))
        return Stage(name=name, what=what, command=("train", "codec"), config=config)

    return [
        Stage(
            name="corpus",
            what="speech, sounds and tunes, made here",
            program="almtok.recipes.mini.corpus:main",
            command=(
                *("--seed", str(o.seed), "--minutes", f"{minutes:g}"),
                *("--out", str(out / "corpus")),
            ),
        ),
        Stage(name="prior", what="the first codebook", command=("prior", *prior(out))),
        train_codec("stage1", "waveform to frames and back", stage1, STAGE1_STEPS),
        train_codec("stage2", "frames to queries, queries to codes", stage2, STAGE2_STEPS),
        Stage(
            name="codec",
            what="the trained codec under a name of its own",
            program="almtok.recipes.mini.keep:main",
            command=(str(out / "stage2" / "model"), "--out", str(out / "codec")),
        ),
        Stage(
            name="report",
            what="held-out clips, there and back",
            command=("evaluate", "codec", *evaluation(out)),
        ),
    ]


def _common(out: str | Path, stage: str, steps: int) -> dict[str, Any]:
    return {
        "preset": PRESET,
        "data": [source(out, "train")],
        "validation_data": [source(out, "valid")],
        "cache_dir": str(Path(out, "cache")),
        "out": str(Path(out, stage)),
        "steps": steps,
        "batch_size": 8,
        "segment_seconds": 1.0,
        "num_workers": 1,
        "lr": 5e-4,
        "warmup_steps": 50,
        "ema_decay": 0.99,
        "adversarial_start": -1,  # discriminators cost more than the codec at this size
        "validate_every": 0,
        "checkpoint_every": 100,
        "device": "cpu",
    }
