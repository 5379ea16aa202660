"""A toy codec, toy audio, and processes that train it and can be killed."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from almtok.codec.train.config import CodecTrainConfig, for_stage
from almtok.core.data import SegmentBatch

from ...pace import patience
from ...training_process import TrainerProcess, trainer_process

RATE = 24_000
HOP = 320
MODEL = {
    "strides": [8, 5, 4, 2],
    "conv_channels": [1, 8, 8, 8, 16],
    "hidden_size": 16,
    "encoder_layers": 1,
    "decoder_layers": 1,
    "num_attention_heads": 2,
    "attention_window": 32,
    "codebook_size": 16,
    "codebook_dim": 8,
    "prior_dim": 8,
    "frames_per_query": 3,
    "frames_per_query_range": [2, 5],
}
TOY = {
    "preset": "tiny",
    "model": MODEL,
    "mel": {"windows": [256, 1024], "mels": [20, 40]},
    "discriminators": {"hop_lengths": [256], "channel_divisor": 64},
    "masked": {"encoder_layers": 1, "decoder_layers": 1, "num_heads": 2},
    "adversarial_start": 2,
    "segment_seconds": 0.4,
    "batch_size": 4,
    "warmup_steps": 2,
    "lr": 1e-3,
    "device": "cpu",
    "precision": "fp32",
    "num_workers": 0,
    "tracker": "none",
    "progress": False,
    "log_every": 1,
    "checkpoint_minutes": 0,
    "validate_every": 0,
}


@pytest.fixture(scope="session")
def toy_audio(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of six clips of harmonic tones with noise, 1 to 2 s."""
    folder = tmp_path_factory.mktemp("audio")
    rng = np.random.default_rng(0)
    for number in range(6):
        time = np.arange(int(RATE * (1 + 0.2 * number))) / RATE
        tone = sum(np.sin(2 * np.pi * 110 * (number + 2) * k * time) / k for k in (1, 2, 3))
        wav = 0.1 * tone * (1 + np.sin(2 * np.pi * 3 * time)) + 0.01 * rng.standard_normal(
            len(time)
        )
        soundfile.write(folder / f"clip{number}.wav", wav.astype(np.float32), RATE)
    return folder


@pytest.fixture(scope="session")
def toy_values(toy_audio: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Config values of a run that takes a fraction of a second."""
    cache = tmp_path_factory.mktemp("cache")
    return {**TOY, "data": [str(toy_audio)], "cache_dir": str(cache)}


@pytest.fixture
def toy_config(toy_values: dict[str, Any], tmp_path: Path) -> Callable[..., CodecTrainConfig]:
    """Make a toy config: ``toy_config("2", steps=3)``; its run folder is ``tmp_path / "run"``."""

    def make(stage: str = "1", **changes: Any) -> CodecTrainConfig:
        start = {} if stage == "1" else {"freeze_patchify": False}
        return for_stage(stage, **{**toy_values, **start, "out": str(tmp_path / "run"), **changes})

    return make


@pytest.fixture
def toy_batch() -> Callable[..., SegmentBatch]:
    """Make a batch of noise: ``toy_batch(size, seed)``."""

    def make(size: int = 4, seed: int = 0, frames: int = 30) -> SegmentBatch:
        generator = torch.Generator().manual_seed(seed)
        wav = 0.1 * torch.randn(size, 1, frames * HOP, generator=generator)
        ids = tuple((f"clip{number}",) for number in range(size))
        return SegmentBatch(wav, ids, ("speech",) * size, torch.arange(size) + 100 * seed)

    return make


@pytest.fixture(scope="session")
def trainer(python: str) -> Iterator[TrainerProcess]:
    """The process that forks training processes."""
    with trainer_process("codec", patience(30), python) as made:
        yield made
