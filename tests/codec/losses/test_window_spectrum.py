"""WindowSpectrum: the target is the window's own spectrum, and gradients teach the queries."""

import pytest
import torch

from almtok.codec.losses.window_spectrum import QuerySpectrum

RATE, HOP = 24_000, 320


def objective(dim: int = 8) -> QuerySpectrum:
    torch.manual_seed(0)
    return QuerySpectrum(dim, sample_rate=RATE, hop_length=HOP)


def tone(hertz: float, samples: int) -> torch.Tensor:
    return torch.sin(2 * torch.pi * hertz * torch.arange(samples) / RATE)


@pytest.mark.parametrize("w", [1, 2, 5, 6])
def test_each_half_of_a_window_is_heard_on_its_own(w):
    spectrum = objective()
    # The pitch changes in the middle of every window (a window of one frame has one half only).
    half = w * HOP // 2
    wav = torch.cat([tone(300, half), tone(5000, half)]).repeat(10)[None, None]
    halves = spectrum.spectrum(wav, w).unflatten(-1, (2, -1))  # [1, 10, 2, M]
    assert halves.shape == (1, 10, 2, 48)
    if w > 2:
        low, high = halves[0, 3:7].mean(dim=0)
        assert low[3] > high[3] + 0.2 and high[35] > low[35] + 0.2


def test_queries_that_hold_the_spectrum_can_say_it():
    spectrum = objective(dim=96)
    wav = torch.randn(4, 1, 6 * HOP * 20) * torch.rand(4, 1, 1)
    with torch.no_grad():
        spectrum.say.weight.copy_(torch.eye(96))
        spectrum.say.bias.zero_()
        queries = spectrum.norm(spectrum.spectrum(wav, 6))
        assert spectrum(queries, wav, 6) < 1e-8


def test_the_gradient_reaches_queries_and_map_but_not_the_waveform():
    spectrum = objective()
    wav = torch.randn(2, 1, 6 * HOP * 5).requires_grad_()
    queries = torch.randn(2, 5, 8).requires_grad_()
    spectrum(queries, wav, 6).backward()
    assert queries.grad is not None and float(queries.grad.norm()) > 0
    assert float(spectrum.say.weight.grad.norm()) > 0
    assert wav.grad is None
