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


# Few texts: pieces of words would each be seen too seldom, so texts are nearly spelled.
_MODEL = {"backbone": {"vocab_size": 320}}


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
        "steps": 3000,
        "batch_positions": 3072,
        "lr": 1.5e-3,
        "warmup_steps": 100,
        "lr_floor": 0.02,
        "weight_decay": 0.1,
        "precision": "bf16",
        "max_seconds": 12.0,
        "voices": 0.5,  # half of the examples are told who speaks, by another recording
        "validate_every": 500,
        "checkpoint_every": 0,
        "checkpoint_minutes": 6.0,
        "samples": 1,
    }
    return train.pretrain(**{**ours, **changes})


def voice(
    tokens: Sequence[str], held_out: Sequence[str], base: str, out: str, **changes: Any
) -> train.LMTrainingConfig:
    """LoRA of a trained model to one voice."""
    ours = {
        "init_from": base,
        "data": list(tokens),
        "validation_data": list(held_out),
        "tasks": ["tts"],
        "out": str(Path(out, "voice")),
        "steps": 200,
        "batch_positions": 2048,
        "precision": "bf16",
        "validate_every": 50,
        "checkpoint_every": 50,
    }
    return train.finetune(**{**ours, **changes})


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
