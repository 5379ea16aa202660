import math

import pytest
import torch

from almtok.codec.priors.spectral import SpectralTeacher, cosines, mel_bank


def tone(hertz, seconds=1.0, rate=24000):
    return torch.sin(2 * math.pi * hertz * torch.arange(int(seconds * rate)) / rate)


def noise(samples, seed=0):
    return torch.randn(samples, generator=torch.Generator().manual_seed(seed)) * 0.1


@pytest.mark.parametrize(("flavour", "rate"), [("speech", 50.0), ("sound", 25.0)])
@pytest.mark.parametrize("samples", [600, 601, 5000, 24000, 100001])
def test_shape_and_rate(flavour, rate, samples):
    teacher = SpectralTeacher(flavour=flavour)
    features = teacher.features(noise(samples))
    assert teacher.frame_rate == rate
    assert features.shape[1] == teacher.dim == 128
    assert abs(len(features) - samples / 24000 * rate) <= 2
    assert torch.isfinite(features).all()


@pytest.mark.parametrize("flavour", ["speech", "sound"])
def test_alone_is_batched_to_the_bit(flavour):
    teacher = SpectralTeacher(flavour=flavour)
    wavs = [noise(5000), noise(24000, 1), noise(700, 2)]
    for wav, features in zip(wavs, teacher.features_batch(wavs), strict=True):
        assert torch.equal(features, teacher.features(wav))


@pytest.mark.parametrize("flavour", ["speech", "sound"])
def test_level_does_not_matter(flavour):
    teacher = SpectralTeacher(flavour=flavour)
    wav = noise(24000)
    assert torch.allclose(teacher.features(wav), teacher.features(0.05 * wav), atol=1e-3)


def test_a_fixed_filter_does_not_change_speech_features_much():
    teacher = SpectralTeacher(flavour="speech")
    wav = torch.cat([noise(8000), tone(300, 0.3), 0.3 * noise(8000, 1), tone(2000, 0.3)])
    darker = torch.nn.functional.conv1d(wav[None, None], torch.tensor([[[0.5, 0.5]]]))[0, 0]
    change = (teacher.features(wav)[:-2] - teacher.features(darker)[: len(wav)][:-2]).norm()
    assert change < 0.2 * teacher.features(wav).norm()


@pytest.mark.parametrize("flavour", ["speech", "sound"])
def test_silence_gives_finite_features(flavour):
    features = SpectralTeacher(flavour=flavour).features(torch.zeros(3000))
    assert torch.isfinite(features).all()


def test_sounds_apart_are_features_apart():
    teacher = SpectralTeacher(flavour="sound")
    low, same, high = (teacher.features(tone(hertz)).mean(0) for hertz in (200, 201, 4000))
    assert (low - high).norm() > 5 * (low - same).norm()


def test_mel_bank_keeps_white_spectra_white_even_with_more_bands_than_bins():
    bank = mel_bank(bands=64, bins=129, sample_rate=16000, low=60, high=7600, dtype=torch.float64)
    assert torch.allclose(bank.sum(0), torch.ones(64, dtype=torch.float64))


def test_cosines_are_orthonormal():
    table = cosines(16, 16)
    assert torch.allclose(table @ table.T, torch.eye(16), atol=1e-6)


@pytest.mark.parametrize("width", [64, 256])
def test_other_widths(width):
    for flavour in ("speech", "sound"):
        assert SpectralTeacher(flavour=flavour, dim=width).features(noise(3000)).shape[1] == width


def test_wrong_values_are_named():
    with pytest.raises(ValueError, match="got 'music'"):
        SpectralTeacher(flavour="music")
    with pytest.raises(ValueError, match="multiple of 4 and at least 16, got 30"):
        SpectralTeacher(flavour="speech", dim=30)
    with pytest.raises(ValueError, match="got 8000"):
        SpectralTeacher(flavour="speech", sample_rate=8000)
    with pytest.raises(ValueError, match="600 samples at 24000 Hz, got 599"):
        SpectralTeacher(flavour="speech").features(torch.zeros(599))
