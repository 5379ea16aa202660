"""Rooms, noise and Opus: what they change, what they keep, and that they depend on the seed."""

import numpy as np
import pytest
import torch

from almtok.core.data import AudioCorpus, CropDataset, DataConfig
from almtok.core.data.augment import AUGMENTATIONS, Scene, augment, coloured_noise
from almtok.core.levels import measure_levels

RATE = 24_000
SCENE = Scene(RATE)


def bursts(seconds=1.5):
    """Bursts of noise with pauses, at about -20 dBFS."""
    wav = 0.1 * coloured_noise(round(seconds * RATE), 1.0, np.random.default_rng(0))
    wav[(np.arange(len(wav)) // (RATE // 4)) % 2 == 1] = 0
    return wav


def test_noise_has_its_colour():
    for exponent, octaves in ((0.0, 2.0), (1.0, 1.0), (2.0, 0.5)):
        noise = coloured_noise(1 << 18, exponent, np.random.default_rng(1))
        assert np.sqrt(np.mean(noise**2)) == pytest.approx(1, rel=1e-3)
        power = np.abs(np.fft.rfft(noise)) ** 2
        low, high = power[1 << 12 : 1 << 13].sum(), power[1 << 13 : 1 << 14].sum()
        # An octave has twice the frequencies, each of 2 ** -exponent the power; 4096 terms vary
        # by 1.6 %.
        assert high / low == pytest.approx(octaves, rel=0.1)


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_each_keeps_length_and_level_and_depends_on_the_generator(name):
    wav = bursts()
    kept = wav.copy()
    made = [augment(wav, {name: 1.0}, SCENE, np.random.default_rng(n)) for n in (3, 3, 4)]
    assert np.array_equal(wav, kept), "the input is not changed"
    assert np.array_equal(made[0], made[1]) and not np.array_equal(made[0], made[2])
    assert made[0].shape == wav.shape and made[0].dtype == np.float32
    assert not np.array_equal(made[0], wav)
    level, now = (measure_levels(x, RATE).active_dbfs for x in (wav, made[0]))
    assert now == pytest.approx(level, abs=0.01)
    # The direct sound remains in place.
    lag = np.argmax(np.fft.irfft(np.fft.rfft(made[0]) * np.conj(np.fft.rfft(wav)), len(wav)))
    assert min(lag, len(wav) - lag) <= 2
    assert np.array_equal(augment(wav, {name: 0.0}, SCENE, np.random.default_rng(3)), wav)
    silence = np.zeros(RATE, np.float32)
    assert np.array_equal(augment(silence, {name: 1.0}, SCENE, np.random.default_rng(3)), silence)


def test_a_room_fills_pauses_and_fades():
    wav = np.zeros(RATE, np.float32)
    wav[0] = 0.5
    tail = np.abs(AUGMENTATIONS["room"](wav, SCENE, np.random.default_rng(5)))
    early, late = (np.sum(tail[a : a + RATE // 20] ** 2) for a in (RATE // 40, RATE // 2))
    assert tail[0] == pytest.approx(0.5) and early > 100 * late


def test_noise_is_at_the_ratio_asked_for():
    wav = bursts()
    for snr in (0.0, 20.0):
        scene = Scene(RATE, (snr, snr), lambda count, rng: np.full(count, 0.3, np.float32))
        noise = AUGMENTATIONS["noise"](wav, scene, np.random.default_rng(0)) - wav
        levels = [measure_levels(x, RATE).active_dbfs for x in (wav, noise)]
        assert levels[0] - levels[1] == pytest.approx(snr, abs=0.01)


def test_opus_takes_other_rates():
    wav = 0.1 * coloured_noise(22_050, 1.0, np.random.default_rng(0))
    heard = AUGMENTATIONS["opus"](wav, Scene(22_050), np.random.default_rng(0))
    assert heard.shape == wav.shape and np.corrcoef(heard, wav)[0, 1] > 0.5


@pytest.fixture
def corpus(make, tmp_path):
    sources = [
        f"speech={make.folder(tmp_path / 'speech', [0.9, 2.0, 3.3])}",
        f"sound={make.folder(tmp_path / 'sound', [0.12, 0.7])}",
    ]
    return AudioCorpus.scan(sources, DataConfig(sample_rate=8000), progress=False)


def test_segments_are_augmented_by_seed_and_number_only(corpus):
    plain = DataConfig(sample_rate=8000, segment_seconds=0.5)
    noisy = DataConfig(
        sample_rate=8000, segment_seconds=0.5, augment={"room": 0.5, "noise": 0.5, "opus": 0.5}
    )
    numbers = list(range(12))
    before = [CropDataset(corpus, plain, seed=3)[n] for n in numbers]
    dataset = CropDataset(corpus, noisy, seed=3)
    after = [dataset[n] for n in numbers]
    again = CropDataset(corpus, noisy, seed=3)
    changed = 0
    for n in reversed(numbers):
        assert torch.equal(again[n].wav, after[n].wav)
        # The same excerpts and seeds as without augmentation.
        assert (after[n].ids, after[n].seed) == (before[n].ids, before[n].seed)
        assert after[n].wav.shape == (1, 4000) and after[n].wav.abs().max() <= 0.99
        changed += not torch.equal(after[n].wav, before[n].wav)
    assert 6 <= changed <= 12
    assert CropDataset(corpus, noisy, seed=3)._noise_for("sound") is None
    draw = CropDataset(corpus, noisy, seed=3)._noise_for("speech")
    drawn = [draw(4000, np.random.default_rng(n)) for n in range(20)]
    assert {wav.shape for wav in drawn} == {(4000,)}
    assert 3 < sum(wav.any() for wav in drawn) < 17


def test_unknown_augmentations_are_refused():
    with pytest.raises(ValueError, match="probabilities of room, noise, opus, got 'echo'"):
        DataConfig(augment={"echo": 0.5})
    for share in (1.5, -0.1, True, "often"):
        with pytest.raises(ValueError, match=r"probability of 'room' must lie in \[0, 1\]"):
            DataConfig(augment={"room": share})
    with pytest.raises(ValueError, match="snr_db must be"):
        DataConfig(snr_db=(10.0, 5.0))
