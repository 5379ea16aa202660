"""Framing, magnitudes and mel filters against torch, torchaudio and finite differences."""

import numpy as np
import pytest
import torch

from almtok.codec.losses.reconstruction import MelLoss, MelLossConfig
from almtok.codec.losses.spectrum import magnitude, mel_filters, mel_magnitude


@pytest.mark.parametrize("n_fft", [32, 128, 1024])
@pytest.mark.parametrize("length", [1025, 2400, 4801])
def test_magnitude_is_torch_stft_with_a_unit_energy_window(n_fft: int, length: int) -> None:
    wav = torch.randn(2, length)
    window = torch.hann_window(n_fft)
    window = window / window.square().sum().sqrt()
    ours = magnitude(wav, n_fft, n_fft // 4)
    theirs = torch.stft(wav, n_fft, n_fft // 4, n_fft, window, return_complex=True).abs()
    torch.testing.assert_close(ours, theirs.transpose(1, 2), rtol=1e-4, atol=1e-5)


def test_gradient_is_that_of_torch_stft() -> None:
    wav = torch.randn(2, 900, dtype=torch.float32)
    window = torch.hann_window(128)
    window = window / window.square().sum().sqrt()
    ours, theirs = (wav.clone().requires_grad_() for _ in range(2))
    pull = torch.randn(2, 29, 65)
    (magnitude(ours, 128, 32) * pull).sum().backward()
    reference = torch.stft(theirs, 128, 32, 128, window, return_complex=True).abs()
    (reference.transpose(1, 2) * pull).sum().backward()
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("length", [1, 2, 63, 64, 65])
def test_any_length_works_and_silence_has_a_finite_gradient(length: int) -> None:
    wav = torch.zeros(1, 1, length, requires_grad=True)
    spectrum = magnitude(wav, 128, 32)
    assert spectrum.shape == (1, 1 + length // 32, 65)
    (spectrum + 1e-5).log().sum().backward()
    assert torch.isfinite(wav.grad).all()


def test_white_noise_has_its_own_deviation_at_every_resolution() -> None:
    noise = 0.1 * torch.randn(1, 48_000, generator=torch.Generator().manual_seed(0))
    for n_fft in (64, 512, 2048):
        power = magnitude(noise, n_fft, n_fft // 4)[..., 1:-1].square().mean()
        assert float(power.sqrt()) == pytest.approx(0.1, rel=0.05)


@pytest.mark.parametrize("scale", ["slaney", "htk"])
def test_filters_are_torchaudio_s_where_those_are_not_empty(scale: str) -> None:
    from torchaudio.functional import melscale_fbanks

    ours = mel_filters(sample_rate=24_000, n_fft=2048, n_mels=40, mel_scale=scale)
    theirs = melscale_fbanks(1025, 0.0, 12_000.0, 40, 24_000, None, scale).double().numpy()
    np.testing.assert_allclose(ours, theirs / theirs.sum(axis=0), atol=2e-5)


@pytest.mark.parametrize("scale", ["slaney", "htk"])
@pytest.mark.parametrize(("n_fft", "n_mels"), [(32, 5), (128, 64), (128, 32), (2048, 320)])
def test_no_filter_is_empty_and_each_sums_to_one(n_fft: int, n_mels: int, scale: str) -> None:
    filters = mel_filters(sample_rate=24_000, n_fft=n_fft, n_mels=n_mels, mel_scale=scale)
    assert filters.shape == (n_fft // 2 + 1, n_mels)
    assert filters.min() >= 0.0
    np.testing.assert_allclose(filters.sum(axis=0), 1.0)


def test_constants_made_in_inference_mode_serve_training() -> None:
    settings = dict(sample_rate=24_000, n_fft=256, hop_length=64, n_mels=17)  # used nowhere else
    with torch.inference_mode():
        before = mel_magnitude(torch.ones(1, 512), **settings).clone()
    wav = torch.ones(1, 512, requires_grad=True)
    after = mel_magnitude(wav, **settings)
    after.sum().backward()
    assert torch.equal(before, after.detach())


def test_a_loss_built_on_the_meta_device_or_cast_is_the_same() -> None:
    prediction, target = torch.randn(2, 1, 2000), torch.randn(2, 1, 2000)
    expected = MelLoss()(prediction, target)
    with torch.device("meta"):
        moved = MelLoss(MelLossConfig(mels=(5, 10, 20, 40, 80, 160, 319)))
        same = MelLoss()
    assert torch.equal(same.to(torch.bfloat16)(prediction, target), expected)
    assert torch.isfinite(moved(prediction, target))  # filters first made after the meta context


def test_errors_name_both_numbers() -> None:
    with pytest.raises(ValueError, match="128 and 48"):
        magnitude(torch.zeros(1, 400), 128, 48)
    with pytest.raises(ValueError, match=r"12000.0 Hz, got 0.0 and 16000"):
        mel_filters(sample_rate=24_000, n_fft=128, n_mels=8, f_max=16_000)
    with pytest.raises(ValueError, match="'bark'"):
        mel_filters(sample_rate=24_000, n_fft=128, n_mels=8, mel_scale="bark")
