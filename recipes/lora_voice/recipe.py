"""LoRA of a trained language model to one voice: a rank and a rate for 10 to 300 recordings.

Functions return configurations; the loop is the library's. Values are ours (D), and not tried on a
model that speaks yet.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from almtok.codec.files import write_json
from almtok.lm.train import config as train


def voice(
    tokens: Sequence[str], held_out: Sequence[str], base: str, out: str, **changes: Any
) -> train.LMTrainingConfig:
    """An adapter for a minute of speech or more: few steps, so that reading is not unlearned."""
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
