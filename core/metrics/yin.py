"""Periods of sound by YIN (de Cheveigne and Kawahara, 2002), many frames at once.

Letters: `N` frames, `n` samples of a frame, `W` samples that are compared, `G` lags.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Periods:
    """What frames repeat after."""

    samples: Tensor  # [N], between samples too
    depth: Tensor  # [N], 0 exactly periodic .. 1 not at all (normalised difference)


def find_periods(frames: Tensor, shortest: int, longest: int, threshold: float) -> Periods:
    """Find the period of each frame: the first dip below the threshold, else the deepest.

    Args:
        frames: `[N, W + longest]`, without their mean.
        shortest: least period in samples.
        longest: greatest period in samples.
        threshold: depth below which a dip is a period (YIN's paper: 0.1 to 0.2).
    """
    depth = _normalised_difference(frames, longest)  # [N, longest + 1]
    inner = depth[:, shortest:longest]
    dips = torch.zeros_like(inner, dtype=torch.bool)
    dips[:, 1:-1] = (inner[:, 1:-1] <= inner[:, :-2]) & (inner[:, 1:-1] < inner[:, 2:])
    good = dips & (inner < threshold)
    deepest = inner.masked_fill(~dips, torch.inf).argmin(dim=1)
    lag = torch.where(good.any(dim=1), good.int().argmax(dim=1), deepest) + shortest
    left, centre, right = (depth.gather(1, lag[:, None] + i)[:, 0] for i in (-1, 0, 1))
    curve = left - 2 * centre + right
    bent = curve.abs() > 1e-12
    shift = torch.where(bent, 0.5 * (left - right) / curve.where(bent, torch.ones_like(curve)), 0)
    return Periods(lag + shift.clamp(-0.5, 0.5), centre)


def _normalised_difference(frames: Tensor, longest: int) -> Tensor:
    """Difference of frames to themselves later, over its mean at shorter lags: `[N, G]`."""
    window = frames.shape[1] - longest
    n_fft = 1 << (frames.shape[1] - 1).bit_length()
    head = torch.fft.rfft(frames[:, :window], n_fft)
    product = torch.fft.irfft(torch.fft.rfft(frames, n_fft) * head.conj(), n_fft)
    squares = torch.nn.functional.pad(frames.square().cumsum(dim=1), (1, 0))
    energy = squares[:, window:] - squares[:, : longest + 1]  # [N, G] of what lies a lag later
    difference = (energy[:, :1] + energy - 2 * product[:, : longest + 1]).clamp_min(0)
    lags = torch.arange(1, longest + 1, device=frames.device)
    mean = difference[:, 1:].cumsum(dim=1) / lags
    heard = mean > 1e-12
    ratio = difference[:, 1:] / mean.where(heard, torch.ones_like(mean))
    ratio = ratio.where(heard, torch.ones_like(ratio))
    return torch.nn.functional.pad(ratio, (1, 0), value=1.0)
