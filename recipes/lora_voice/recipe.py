"""LoRA of a trained language model to one voice: a rank and a rate for 10 to 300 recordings.

Functions return configurations; the loop is the library's. Values are ours (D); they are chosen so
that a handful of recordings teaches the sound of a voice and does not unlearn how to read.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from almtok.codec.files import write_json
from almtok.lm.train import config as train


def voice(
    tokens: Sequence[str], held_out: Sequence[str], base: str, out: str, **changes: Any
) -> train.LMTrainingConfig:
    """A minute of speech or more, about a minute on two cores with a `mini` model."""
    ours = {
        "init_from": base,
        "data": list(tokens),
        "validation_data": list(held_out),
        "tasks": ["tts"],
        "out": str(Path(out, "adapter-run")),
        "steps": 60,
        "warmup_steps": 10,
        "batch_positions": 2048,
        "precision": "bf16",
        "max_seconds": 15.0,
        "validate_every": 20,
        "checkpoint_every": 0,
        "samples": 0,
    }
    return train.finetune(**{**ours, **changes})


def write(out: str, tokens: Sequence[str], held_out: Sequence[str], base: str) -> None:
    """Write ``voice.json``, to be read and changed."""
    write_json(Path(out, "voice.json"), voice(tokens, held_out, base, out).to_dict())
