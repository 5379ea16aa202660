"""The loudness loss: what an ear forgives and what it does not, beside PESQ itself."""

import numpy as np
import pytest
import torch

from almtok.codec.losses.loudness import LoudnessLoss, _table, _threshold

RATE = 24_000


def voice(seconds: float = 2.0, seed: int = 0) -> torch.Tensor:
    """A buzz with syllables `[1, 1, S]`, as loud as speech."""
    at = torch.arange(round(seconds * RATE)) / RATE
    pitch = 120 + 20 * torch.sin(2 * torch.pi * 2.1 * at + seed)
    phase = 2 * torch.pi * (pitch / RATE).cumsum(0)
    wav = sum(torch.cos(n * phase) / n for n in range(1, 40))
    wav = wav * (0.55 + 0.45 * torch.sin(2 * torch.pi * 3.3 * at + seed)).clamp_min(0.02)
    return (0.08 * wav / wav.std())[None, None]


def noise(like: torch.Tensor, level: float) -> torch.Tensor:
    return level * torch.randn(like.shape, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def loss() -> LoudnessLoss:
    return LoudnessLoss(RATE)


def test_zero_at_the_target_and_growing_with_the_error(loss) -> None:
    target = voice()
    values = [float(loss(target + noise(target, s), target)) for s in (0, 0.003, 0.01, 0.03, 0.1)]
    assert values[0] == pytest.approx(0.0, abs=1e-3)
    assert values == sorted(values) and 3 < values[-1] < 7


def test_what_is_added_is_worse_than_what_is_missing(loss) -> None:
    target = voice()
    other = noise(target, 0.03)
    assert float(loss(target + other, target)) > 1.3 * float(loss(target, target + other))


def test_what_nobody_hears_is_nothing_and_a_level_is_not_forgiven(loss) -> None:
    target = voice()
    assert float(loss(target + noise(target, 1e-6), target)) < 0.02
    assert float(loss(0.5 * target, target)) > 0.3
    # The level of both does not matter: it is that of the recording's voice.
    quiet = float(loss(0.1 * (target + noise(target, 0.03)), 0.1 * target))
    assert quiet == pytest.approx(float(loss(target + noise(target, 0.03), target)), rel=0.02)


def test_rumble_in_the_recording_does_not_make_its_voice_quiet(loss) -> None:
    # With it in the level, a decoder that adds rumble would be told that nothing else matters.
    target = voice()
    rumble = 0.5 * torch.sin(2 * torch.pi * 100 * torch.arange(target.shape[-1]) / RATE)
    error = noise(target, 0.03)
    with_rumble = float(loss(target + rumble + error, target + rumble))
    assert with_rumble > 0.8 * float(loss(target + error, target))


def test_two_halves_of_a_batch_average_to_the_whole(loss) -> None:
    target = torch.cat([voice(seed=s) for s in range(4)])
    prediction = target + noise(target, 0.02)
    halves = [loss(prediction[i : i + 2], target[i : i + 2]) for i in (0, 2)]
    torch.testing.assert_close(sum(halves) / 2, loss(prediction, target), rtol=1e-5, atol=1e-6)


def test_gradients_are_finite_also_in_silence_and_none_reach_the_target(loss) -> None:
    for target in (voice(), torch.zeros(2, 1, 600), torch.zeros(1, 1, 9_000)):
        for prediction in (target.clone(), torch.zeros_like(target), 0.1 + target):
            prediction.requires_grad_()
            truth = target.clone().requires_grad_()
            loss(prediction, truth).backward()
            assert torch.isfinite(prediction.grad).all() and truth.grad is None


def test_its_slope_leads_to_the_target(loss) -> None:
    target = voice(0.5)
    prediction = (target + noise(target, 0.05)).requires_grad_()
    before = float(loss(prediction, target))
    optimizer = torch.optim.Adam([prediction], lr=1e-3)
    for _ in range(60):
        optimizer.zero_grad()
        loss(prediction, target).backward()
        optimizer.step()
    assert float(loss(prediction, target)) < 0.6 * before


def disturbance_of(mos: float) -> float:
    """What P.862.2 maps to a MOS, taken from the best."""
    return 4.5 - (3.8224 - np.log(4 / (mos - 0.999) - 1)) / 1.3669


def test_it_says_what_pesq_says() -> None:
    pesq = pytest.importorskip("pesq")
    rate, ours, theirs = 16_000, [], []
    loss = LoudnessLoss(rate)
    for seed in range(3):
        target = voice(3.0, seed)  # at 16 kHz: a lower voice
        for level in (0.002, 0.006, 0.02, 0.06):
            prediction = target + noise(target, level)
            ours.append(float(loss(prediction, target)))
            wavs = [one[0, 0].numpy() for one in (target, prediction)]
            theirs.append(disturbance_of(pesq.pesq(rate, *wavs, "wb")))
    assert np.corrcoef(ours, theirs)[0, 1] > 0.95


def test_tables() -> None:
    table = _table(RATE, 768, torch.device("cpu"))
    # Within the bands every bin is counted once: powers add up.
    whole = table.filters.sum(dim=1) * 768 / 2
    assert whole[5:250].numpy() == pytest.approx(1.0, abs=1e-5)
    assert whole[:2].sum() == 0 and whole[260:].sum() == 0
    # An ear is best near 3.5 kHz and poor below 100 Hz (Terhardt's curve).
    decibels = 10 * np.log10(_threshold(np.array([100.0, 1000.0, 3500.0])))
    assert decibels == pytest.approx([22.95, 3.37, -4.86], abs=0.01)


def test_what_does_not_fit_is_refused(loss) -> None:
    with pytest.raises(ValueError, match=r"one shape \[B, 1, S\].*600.*601"):
        loss(torch.zeros(1, 1, 600), torch.zeros(1, 1, 601))
    with pytest.raises(ValueError, match="16000 Hz or more, got 8000"):
        LoudnessLoss(8_000)
