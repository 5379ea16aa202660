"""A codec trained on one clip, in both stages, reconstructs it from its codes alone."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from almtok.codec.losses.reconstruction import MelLoss
from almtok.codec.model import ALMTokenizer
from almtok.codec.train import train_codec
from almtok.codec.train.config import CodecTrainConfig
from almtok.codec.train.state import model_config_of
from almtok.core.audio import read_audio

RATE = 24_000


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """0.9 s: a voice-like tone, noise, a soft whistle. Only the codes can say which comes when."""
    time = np.arange(int(0.3 * RATE)) / RATE
    tone = 0.2 * sum(np.sin(2 * np.pi * 220 * k * time) / k for k in (1, 2, 3, 4))
    noise = 0.1 * np.random.default_rng(0).standard_normal(len(time))
    whistle = 0.02 * np.sin(2 * np.pi * 3000 * time)
    folder = tmp_path / "clip"
    folder.mkdir()
    wav = np.concatenate([tone, noise, whistle]).astype(np.float32)
    soundfile.write(folder / "clip.wav", wav, RATE)
    return folder


@pytest.mark.slow
def test_one_clip_from_its_codes_alone(
    toy_config: Callable[..., CodecTrainConfig], clip: Path, tmp_path: Path
) -> None:
    model = {
        "conv_channels": [1, 24, 32, 32, 48],
        "hidden_size": 48,
        "codebook_size": 64,
        "codebook_dim": 48,
        "layer_scale": 0.3,
        "prior_codebooks": "none",
        "frames_per_query_range": [3, 3],
        # Two windows of context: the decoder cannot learn the clip by counting its windows.
        "attention_window": 8,
    }
    common = {
        "model": {**toy_config().model, **model},
        "data": [str(clip)],
        "cache_dir": str(tmp_path / "cache"),
        "dataset": {"gain_db": [0.0, 0.0]},
        "segment_seconds": 0.9,
        "batch_size": 1,
        "steps": 320,
        "warmup_steps": 10,
        "adversarial_start": -1,
        "weight_masked": 0.0,
        "ema_decay": 0.0,
        "checkpoint_every": 0,
        "log_every": 100,
    }
    one = toy_config("1", **common, lr=5e-3, out=str(tmp_path / "one"))
    two = toy_config(
        "2",
        **common,
        lr=3e-3,
        weight_autoregressive=0.0,
        weight_latent=1.0,
        freeze_patchify=True,
        init_from=one.out,
    )
    wav = torch.as_tensor(read_audio(clip / "clip.wav", RATE))[None, None]

    def distance(codec: ALMTokenizer, codes: torch.Tensor) -> float:
        numbers = torch.tensor(json.loads(json.dumps(codes.tolist())))  # nothing else goes over
        return float(MelLoss()(codec.decode(numbers, length=wav.shape[-1]).audio_values, wav))

    torch.manual_seed(0)
    untrained = ALMTokenizer(model_config_of(two)).eval()
    before = distance(untrained, untrained.encode(wav).audio_codes)
    train_codec(one)
    trained = ALMTokenizer.from_pretrained(str(train_codec(two).model)).eval()
    codes = trained.encode(wav).audio_codes
    after = distance(trained, codes)
    print(f"mel distance {before:.2f} -> {after:.2f}")
    assert before > 5.0
    assert after < 3.5  # seen: 2.1 to 2.4
    # The codes carry it: other codes are another sound.
    assert distance(trained, torch.zeros_like(codes)) > 5.0  # seen: 6.4 to 6.6
    assert distance(trained, codes.flip(-1)) > 5.0  # seen: 8.2 to 8.4
