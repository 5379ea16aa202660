"""Fine-tune a trained language model to one voice by LoRA, from 10 to 300 recordings.

Values are ours (D) and were tried on small models only (README).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from almtok.codec.checkpoints import DEFAULT
from almtok.core.options import option
from almtok.lm.train import config as train

from ..run import RecipeOptions, Stage


def voice(
    tokens: Sequence[str], held_out: Sequence[str], base: str, out: str, **changes: Any
) -> train.LMTrainingConfig:
    """Return the training of an adapter, for a minute of speech or more.

    Few steps, so that the model still reads other texts. With the learning rate 3e-4, usual for
    LoRA of large models, the voice of a small model did not change.
    """
    ours = {
        "init_from": base,
        "data": list(tokens),
        "validation_data": list(held_out),
        "tasks": ["tts"],
        "out": str(Path(out, "adapter-run")),
        "steps": 80,
        "lr": 1e-3,
        "warmup_steps": 10,
        "batch_positions": 1024,
        "max_seconds": 15.0,
        "validate_every": 20,
        "checkpoint_every": 0,
        "samples": 0,
    }
    return train.finetune(**{**ours, **changes})


EXAMPLE = "--voice speech=me/"


@dataclass(frozen=True, kw_only=True)
class Options(RecipeOptions):
    """The voice and the model."""

    base: str = option(
        "",
        "run folder, or folder with lm/ and codec/ (default: the model of almtok)",
        metavar="DIR",
    )
    voice: list[str] = option([], "recordings with texts, such as speech=me/", metavar="SOURCE")
    other: list[str] = option(
        [], "held-out recordings of the voice (default: --voice)", metavar="SOURCE"
    )
    loudness: float = option(-20.0, "loudness of the base's training data", metavar="DBFS")
    text: str = option(
        "Not at this particular case, Tom.", "sentence to speak before and after", metavar="TEXT"
    )


def stages(o: Options) -> list[Stage]:
    """Encode the recordings, train the adapter, synthesize a sentence before and after."""
    if not o.voice:
        raise ValueError("--voice is missing: recordings with texts, such as speech=me/")
    tokens, held_out, adapter = (
        str(Path(o.out, name)) for name in ("tokens", "held-out", "adapter-run")
    )
    base = o.base or str(DEFAULT)
    inside = Path(base, "codec")
    codec = inside if inside.is_dir() else Path(base, "model", "codec")
    how = ("--checkpoint", str(codec), "--loudness", f"{o.loudness:g}")

    def speak(name: str, *more: str) -> Stage:
        words = ("tts", o.text, "--checkpoint", base, *more, "--out", f"{o.out}/{name}.wav")
        return Stage(name=name, what=f"the sentence {name} fine-tuning", command=words)

    return [
        Stage(
            name="tokens",
            what="encode the recordings",
            command=("lm", "tokenize", *o.voice, *how, "--out", tokens),
        ),
        Stage(
            name="held-out",
            what="encode held-out recordings",
            command=("lm", "tokenize", *(o.other or o.voice), *how, "--out", held_out),
        ),
        Stage(
            name="adapter",
            what="train a LoRA adapter and code embeddings for the voice",
            command=("lm", "finetune"),
            config=voice([tokens], [held_out], base, o.out),
        ),
        speak("before"),
        speak("after", "--adapter", adapter),
    ]
