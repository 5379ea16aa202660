"""Waveform and mel losses: definitions, oracles, invariances."""

import pytest
import torch

from almtok.codec.losses.reconstruction import MelLoss, MelLossConfig, WaveformLoss

LOSSES = [WaveformLoss(), MelLoss()]


@pytest.fixture
def pair() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    target = 0.1 * torch.randn(4, 1, 6000, generator=generator)
    return target + 0.05 * torch.randn(4, 1, 6000, generator=generator), target


@pytest.mark.parametrize("loss", LOSSES)
def test_zero_at_the_target_and_growing_with_the_error(loss, pair) -> None:
    prediction, target = pair
    values = [float(loss(target + s * (prediction - target), target)) for s in (0, 0.1, 0.5, 1)]
    assert values[0] == pytest.approx(0.0, abs=1e-4)
    assert values == sorted(values) and values[-1] > 0.03


@pytest.mark.parametrize("loss", LOSSES)
def test_two_halves_of_a_batch_average_to_the_whole(loss, pair) -> None:
    prediction, target = pair
    halves = [loss(prediction[i : i + 2], target[i : i + 2]) for i in (0, 2)]
    torch.testing.assert_close(sum(halves) / 2, loss(prediction, target), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("loss", LOSSES)
def test_gradients_are_finite_also_in_silence_and_none_reach_the_target(loss, pair) -> None:
    for target in (pair[1], torch.zeros(2, 1, 600)):
        for prediction in (target.clone(), torch.zeros_like(target), 0.1 + target):
            prediction.requires_grad_()
            truth = target.clone().requires_grad_()
            loss(prediction, truth).backward()
            assert torch.isfinite(prediction.grad).all()
            if not isinstance(loss, WaveformLoss):
                assert truth.grad is None


def test_too_quiet_a_prediction_is_pulled_up() -> None:
    # A clamp at the floor would leave it where it is.
    target = 0.1 * torch.randn(1, 1, 4800)
    prediction = (1e-6 * torch.randn(1, 1, 4800)).requires_grad_()
    MelLoss()(prediction, target).backward()
    assert float((prediction.grad * prediction.detach()).sum()) < 0.0


def test_mel_loss_is_the_formula_on_torchaudio_s_mel_spectrum(pair) -> None:
    from torchaudio.transforms import MelSpectrogram

    prediction, target = pair
    window, n_mels, floor = 512, 20, 1e-4
    # htk filters, rows summing to one, and a unit-energy window, from torchaudio's parts
    transform = MelSpectrogram(
        24_000, window, hop_length=128, n_mels=n_mels, power=1.0, mel_scale="htk"
    )
    energy = torch.hann_window(window).square().sum().sqrt()
    rows = transform.mel_scale.fb.sum(dim=0)[:, None] * energy
    x, y = (((transform(wav[:, 0]) / rows) + floor).log() for wav in pair)
    d = x - y  # [B, M, L]
    expected = d.abs().mean() + 0.5 * d.square().mean(dim=1).sqrt().mean()
    config = MelLossConfig(windows=(window,), mels=(n_mels,), mel_scale="htk", log_l2=0.5)
    torch.testing.assert_close(MelLoss(config)(prediction, target), expected, rtol=1e-3, atol=0)


def test_linear_term_and_default_bands(pair) -> None:
    config = MelLossConfig(windows=[64, 512], log_l1=0.0, log_l2=0.0, linear_l1=1.0)
    assert config.mels == (10, 80)
    loss = MelLoss(config)
    single, double = loss(*pair), loss(2 * pair[0], 2 * pair[1])
    torch.testing.assert_close(double, 2 * single)  # no logarithm left


def test_float32_under_autocast(pair) -> None:
    for loss in LOSSES:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            inside = loss(*pair)
        assert inside.dtype == torch.float32
        assert torch.equal(inside, loss(*pair))


@pytest.mark.parametrize("length", [1, 100, 1000])
def test_any_length(length: int) -> None:
    for loss in LOSSES:
        value = loss(torch.randn(1, 1, length), torch.randn(1, 1, length))
        assert torch.isfinite(value)


def test_errors_name_what_came() -> None:
    with pytest.raises(ValueError, match=r"\(1, 1, 10\) and \(1, 1, 11\)"):
        MelLoss()(torch.zeros(1, 1, 10), torch.zeros(1, 1, 11))
    with pytest.raises(ValueError, match="got 1 for 2"):
        MelLossConfig(windows=(64, 128), mels=(10,))
    with pytest.raises(ValueError, match="multiples of 4"):
        MelLossConfig(windows=(66,))
