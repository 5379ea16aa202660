"""One language model for six tasks on the codes of a trained codec.

Functions return configurations; the loop is the library's. Values that the paper does not give are
ours (paper.md 8, D); those of `mini` are chosen for half an hour of CPU, and say why.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from almtok.codec.files import write_json
from almtok.lm.train import config as train

TASKS = ("tts", "asr", "text_to_audio", "text_to_music", "audio_caption", "music_caption")


_MODEL = {
    # Few texts: pieces of words would each be seen too seldom, so texts are nearly spelled.
    "backbone": {"vocab_size": 320},
    # An utterance has four times as many codes as pieces, and reading is learned from these.
    "text_weight": 2.0,
}


def mini(
    tokens: Sequence[str], held_out: Sequence[str], out: str, codec: str, **changes: Any
) -> train.LMTrainingConfig:
    """The `mini` model from scratch, all tasks, on real recordings and readings."""
    ours = {
        "preset": "mini",
        "model": dict(_MODEL),
        "data": list(tokens),
        "validation_data": list(held_out),
        "tasks": list(TASKS),
        "codec": codec,
        "out": str(Path(out, "lm")),
        # Small corpora: capitals and commas would be learned from a few hundred sentences.
        "text_form": "plain",
        "steps": 1900,
        "batch_positions": 3072,
        # Muon: the loss that AdamW had after 220 steps after 100, at 1.45 times the cost of a step.
        "lr": 1.5e-3,
        "muon_lr": 4e-3,
        "warmup_steps": 100,
        "lr_floor": 0.02,
        "weight_decay": 0.1,
        "precision": "bf16",
        "max_seconds": 12.0,
        "voices": 0.3,  # so many examples are told who speaks, by another recording
        "validate_every": 500,
        "checkpoint_every": 0,
        "checkpoint_minutes": 6.0,
        "samples": 1,
    }
    return train.pretrain(**{**ours, **changes})


def pattern(
    name: str, tokens: Sequence[str], held_out: Sequence[str], out: str, codec: str, **changes: Any
) -> train.LMTrainingConfig:
    """The same model with another pattern of codes, a short run, to compare."""
    ours = {
        "model": {**_MODEL, "pattern": name},
        "tasks": ["tts", "asr"],
        "steps": 300,
    }
    place = str(Path(out, "patterns", name))
    return mini(tokens, held_out, place, codec, **{**ours, **changes})


def write(out: str, tokens: Sequence[str], held_out: Sequence[str], codec: str) -> None:
    """Write ``lm.json``, to be read and changed."""
    write_json(Path(out, "lm.json"), mini(tokens, held_out, out, codec).to_dict())
