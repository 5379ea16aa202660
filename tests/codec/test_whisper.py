"""Whisper's encoder as a teacher: the spectrum and the layers are those of transformers."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import WhisperFeatureExtractor, WhisperModel

from almtok.codec.whisper import WhisperFeatures
from almtok.core.audio import resample

from .tiny_whisper import save_whisper


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_whisper(tmp_path_factory.mktemp("whisper"))


def voice(samples: int, rate: int = 16_000, seed: int = 0) -> torch.Tensor:
    """Harmonics with noise below 7 kHz, so that resampling changes nothing; [S]."""
    time = torch.arange(samples, dtype=torch.float64) / rate
    generator = np.random.default_rng(seed)
    tones = [
        float(generator.uniform(0.1, 1)) * torch.sin(2 * np.pi * hz * time + hz)
        for hz in generator.uniform(100, 7000, 40)
    ]
    return (0.02 * torch.stack(tones).sum(0) * (1.2 + torch.sin(9 * time))).float()


def extracted(wav: torch.Tensor, frames: int) -> torch.Tensor:
    """First frames of `WhisperFeatureExtractor`, [M, F]."""
    made = WhisperFeatureExtractor()(wav.numpy(), sampling_rate=16_000, return_tensors="pt")
    return made.input_features[0, :, :frames]


def test_the_log_mel_spectrum_is_that_of_the_extractor(folder: str) -> None:
    wav = voice(16_100)  # no whole number of frames
    found = WhisperFeatures.from_pretrained(folder).log_mel(wav[None])[0]
    torch.testing.assert_close(found, extracted(wav, found.shape[1]), atol=1e-3, rtol=0)


@pytest.mark.parametrize("rate", [24_000, 48_000])
def test_at_other_rates_it_is_that_of_resampled_audio(folder: str, rate: int) -> None:
    wav = voice(rate, rate)
    found = WhisperFeatures.from_pretrained(folder, sample_rate=rate).log_mel(wav[None])[0]
    low = torch.from_numpy(resample(wav.numpy(), rate, 16_000))
    # Up to band 74 of 80, 6.4 kHz: there begins the resampler's filter. Edges are filtered, too.
    wanted = extracted(low, 100)[:74, 2:98]
    assert (found[:74, 2:98] - wanted).abs().mean() < 1e-3
    assert wanted.std() > 0.1


def test_hidden_states_are_those_of_transformers_where_the_positions_are_full(folder: str) -> None:
    layers = (0, 2, 3)
    teacher = WhisperFeatures.from_pretrained(folder, layers=layers)
    assert teacher.max_samples == 175 * 320
    wav = voice(teacher.max_samples)
    model = WhisperModel.from_pretrained(folder).eval()
    with torch.no_grad():
        inputs = teacher.log_mel(wav[None])
        hidden = model.encoder(inputs, output_hidden_states=True).hidden_states
        found = teacher(wav[None])
    wanted = torch.stack([hidden[layer][:, :175] for layer in layers], dim=1)
    torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-4)
    assert teacher.features(wav[None, None]).shape == (1, 175, 3 * 16)
    default = WhisperFeatures.from_pretrained(folder)  # the one at two thirds of the depth
    assert torch.equal(default(wav[None])[0, 0], found[0, 1])


def test_a_clip_is_the_same_alone_and_in_a_batch(folder: str) -> None:
    teacher = WhisperFeatures.from_pretrained(folder, sample_rate=24_000)
    wavs = torch.stack([voice(10_000, 24_000, seed) * (1 + seed) for seed in range(3)])
    together = teacher(wavs)
    assert together.shape == (3, 1, 21, 16)  # 20.8 frames
    for wav, found in zip(wavs, together, strict=True):
        torch.testing.assert_close(teacher(wav[None])[0], found, atol=1e-5, rtol=1e-4)
    assert teacher(wavs[:0]).shape == (0, 1, 21, 16)


def test_the_waveform_has_a_gradient_and_the_weights_have_none(folder: str) -> None:
    teacher = WhisperFeatures.from_pretrained(folder)
    wav = voice(4000)[None].requires_grad_()
    teacher.train()
    assert not any(module.training for module in teacher.modules())
    teacher(wav).square().sum().backward()
    assert wav.grad is not None and torch.isfinite(wav.grad).all() and wav.grad.norm() > 0
    assert not any(weight.requires_grad for weight in teacher.parameters())
    silence = torch.zeros(1, 4000, requires_grad=True)
    teacher(silence).square().sum().backward()
    assert silence.grad is not None and torch.isfinite(silence.grad).all()


def test_what_is_refused(folder: str, tmp_path) -> None:
    with pytest.raises(OSError, match="none") as missing:
        WhisperFeatures.from_pretrained(str(tmp_path / "none"))
    assert "\n" not in str(missing.value)
    with pytest.raises(ValueError, match=r"layers must lie in 0..3, got \[4\]"):
        WhisperFeatures.from_pretrained(folder, layers=(4,))
    with pytest.raises(ValueError, match="multiple of 400 Hz .* got 22050"):
        WhisperFeatures.from_pretrained(folder, sample_rate=22_050)
    with pytest.raises(ValueError, match="at most 3.5 s, got 4"):
        WhisperFeatures.from_pretrained(folder)(torch.zeros(1, 64_000))


def test_a_checkpoint_that_lacks_weights_is_refused(tmp_path) -> None:
    path = save_whisper(tmp_path / "part")
    weights = load_file(f"{path}/model.safetensors")
    del weights["encoder.layers.1.fc1.weight"]
    save_file(weights, f"{path}/model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match="lacks weights of whisper: encoder.layers.1.fc1.weight"):
        WhisperFeatures.from_pretrained(path)
