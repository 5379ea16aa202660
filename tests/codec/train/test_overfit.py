"""A codec trained on one clip reconstructs it, from its codes alone."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from almtok.codec.audio import read_audio
from almtok.codec.model import ALMTokenizer
from almtok.codec.objectives import MelLoss
from almtok.codec.train import train_codec
from almtok.codec.train.config import CodecTrainConfig
from almtok.codec.train.state import model_config_of

RATE = 24_000


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """0.6 s: two tones with vibrato one after the other, each swelling and fading."""
    time = np.arange(int(0.3 * RATE)) / RATE
    swell = np.sin(np.pi * time / 0.3) ** 2
    parts = []
    for pitch in (196.0, 294.0):
        phase = 2 * np.pi * pitch * time + 2 * np.sin(2 * np.pi * 5 * time)
        parts.append(swell * sum(np.sin(k * phase) / k for k in (1, 2, 3, 4)))
    folder = tmp_path / "clip"
    folder.mkdir()
    soundfile.write(folder / "clip.wav", (0.2 * np.concatenate(parts)).astype(np.float32), RATE)
    return folder


def test_one_clip_from_its_codes_alone(
    toy_config: Callable[..., CodecTrainConfig], clip: Path, tmp_path: Path
) -> None:
    model = {
        "conv_channels": [1, 24, 32, 32, 48],
        "hidden_size": 48,
        "codebook_size": 64,
        "frames_per_query_range": [3, 3],
        "prior_codebooks": "none",
        "layer_scale": 0.3,  # a run this short cannot wait for layers to open
    }
    config = toy_config(
        "2",
        model={**toy_config().model, **model},
        data=[str(clip)],
        cache_dir=str(tmp_path / "cache"),
        dataset={"gain_db": [0.0, 0.0]},
        segment_seconds=0.6,
        batch_size=1,
        steps=800,
        lr=6e-3,
        warmup_steps=10,
        adversarial_start=-1,
        weight_time=1.0,
        weight_masked=0.0,
        weight_autoregressive=0.0,
        ema_decay=0.0,
        checkpoint_every=0,
        log_every=50,
    )
    wav = torch.as_tensor(read_audio(clip / "clip.wav", RATE))[None, None]
    distance = MelLoss()

    def reconstruct(codec: ALMTokenizer) -> torch.Tensor:
        codes = codec.eval().encode(wav).audio_codes
        loaded = torch.tensor(json.loads(json.dumps(codes.tolist())))  # nothing but numbers
        return codec.decode(loaded, length=wav.shape[-1]).audio_values

    torch.manual_seed(0)
    untrained = float(distance(reconstruct(ALMTokenizer(model_config_of(config))), wav))
    trained = ALMTokenizer.from_pretrained(str(train_codec(config).model))
    made = reconstruct(trained)
    learned = float(distance(made, wav))
    correlation = float(torch.corrcoef(torch.stack([made.flatten(), wav.flatten()]))[0, 1])
    print(f"mel distance {untrained:.2f} -> {learned:.2f}, correlation {correlation:.3f}")
    assert untrained > 5.0
    assert learned < 3.0  # seen: 1.8
    assert correlation > 0.5  # seen: 0.8; an untrained codec has about 0
    mute = trained.decode(torch.zeros_like(trained.encode(wav).audio_codes)).audio_values
    assert float(distance(mute[..., : wav.shape[-1]], wav)) > 1.5 * learned  # the codes carry it
