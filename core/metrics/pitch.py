"""Fundamental frequency by YIN (de Cheveigné and Kawahara, 2002) and distances of pitch contours.

Letters: `N` frames, `n` samples of a frame, `W` samples that are compared, `G` lags.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import soxr
import torch
from torch import Tensor

Array = npt.NDArray[np.float64]

PITCH_RATE = 16_000
HOP = 160  # 10 ms
LOWEST_HZ, HIGHEST_HZ = 60.0, 500.0
# Frames with a normalised difference below this are periodic (0.1 to 0.2 in the paper of YIN).
THRESHOLD = 0.2
# Frames this far below the loudest one are unvoiced.
SILENCE_DB = 45.0
_WINDOW = 640
_LONGEST = int(PITCH_RATE / LOWEST_HZ) + 2
_SHORTEST = int(PITCH_RATE / HIGHEST_HZ)
_BLOCK = 1024


@dataclass(frozen=True)
class Periods:
    """Periods of frames."""

    samples: Tensor  # [N], with fractions of a sample
    depth: Tensor  # [N], normalised difference: 0 exactly periodic, 1 aperiodic


def find_periods(frames: Tensor, shortest: int, longest: int, threshold: float) -> Periods:
    """Find the period of each frame: the first dip below the threshold, else the deepest.

    Args:
        frames: `[N, W + longest]`, zero-mean.
        shortest: least period in samples.
        longest: greatest period in samples.
        threshold: depth below which a dip is a period (YIN paper: 0.1 to 0.2).
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
    curved = curve.abs() > 1e-12
    divisor = curve.where(curved, torch.ones_like(curve))
    shift = torch.where(curved, 0.5 * (left - right) / divisor, 0)
    return Periods(lag + shift.clamp(-0.5, 0.5), centre)


def _normalised_difference(frames: Tensor, longest: int) -> Tensor:
    """Cumulative mean normalised difference function of YIN, `[N, G]`."""
    window = frames.shape[1] - longest
    n_fft = 1 << (frames.shape[1] - 1).bit_length()
    head = torch.fft.rfft(frames[:, :window], n_fft)
    product = torch.fft.irfft(torch.fft.rfft(frames, n_fft) * head.conj(), n_fft)
    squares = torch.nn.functional.pad(frames.square().cumsum(dim=1), (1, 0))
    energy = squares[:, window:] - squares[:, : longest + 1]  # [N, G] of the lagged window
    difference = (energy[:, :1] + energy - 2 * product[:, : longest + 1]).clamp_min(0)
    lags = torch.arange(1, longest + 1, device=frames.device)
    mean = difference[:, 1:].cumsum(dim=1) / lags
    nonzero = mean > 1e-12
    ratio = difference[:, 1:] / mean.where(nonzero, torch.ones_like(mean))
    ratio = ratio.where(nonzero, torch.ones_like(ratio))
    return torch.nn.functional.pad(ratio, (1, 0), value=1.0)


@dataclass(frozen=True)
class PitchCurve:
    """Pitch every 10 ms."""

    hz: Array  # [N], 0 where unvoiced
    voiced: npt.NDArray[np.bool_]  # [N]


@dataclass(frozen=True)
class PitchError:
    """Distance of two pitch curves."""

    cents: float  # root mean square over the frames voiced in both; nan if there is none
    hz: float  # the same in Hz
    voicing: float  # share of frames voiced in exactly one of the two
    frames: int  # frames voiced in both


def _correct_octaves(hz: Array, voiced: npt.NDArray[np.bool_]) -> Array:
    """Correct octave errors of one or two frames by the median of their neighbours."""
    padded = np.pad(np.where(voiced, hz, np.nan), 3, constant_values=np.nan)
    neighbours = np.lib.stride_tricks.sliding_window_view(padded, 7)
    medians = hz.copy()
    rows = np.flatnonzero(voiced)
    if rows.size:
        medians[rows] = np.nanmedian(neighbours[rows], axis=1)
    octave = np.round(np.log2(np.where(voiced, hz, 1.0) / np.where(voiced, medians, 1.0)))
    return np.where(voiced, hz / 2.0**octave, 0.0)


def pitch_curve(wav: npt.ArrayLike, sample_rate: int) -> PitchCurve:
    """Track the pitch of one voice between 60 and 500 Hz, every 10 ms.

    Args:
        wav: samples [S].
        sample_rate: of the samples; they are resampled to 16 kHz.
    """
    samples = np.asarray(wav, dtype=np.float64)
    if sample_rate != PITCH_RATE:
        samples = soxr.resample(samples, sample_rate, PITCH_RATE)
    size = _WINDOW + _LONGEST
    padded = np.pad(samples, (size // 2, size - size // 2))
    frames = np.lib.stride_tricks.sliding_window_view(padded, size)[::HOP]
    hz, depth, power = (np.zeros(len(frames)) for _ in range(3))
    for start in range(0, len(frames), _BLOCK):
        block = np.array(frames[start : start + _BLOCK])
        block -= block.mean(axis=1, keepdims=True)
        periods = find_periods(torch.from_numpy(block), _SHORTEST, _LONGEST, THRESHOLD)
        part = slice(start, start + _BLOCK)
        hz[part], depth[part] = PITCH_RATE / periods.samples.numpy(), periods.depth.numpy()
        power[part] = (block**2).mean(axis=1)
    loud = power > max(power.max(initial=0.0) * 10.0 ** (-SILENCE_DB / 10.0), 1e-10)
    voiced = loud & (depth < THRESHOLD) & (hz >= LOWEST_HZ) & (hz <= HIGHEST_HZ)
    return PitchCurve(_correct_octaves(hz, voiced), voiced)


def pitch_error(reference: npt.ArrayLike, estimate: npt.ArrayLike, sample_rate: int) -> PitchError:
    """Pitch and voicing error of a reconstruction [S] against its original [S]."""
    left, right = pitch_curve(reference, sample_rate), pitch_curve(estimate, sample_rate)
    n = min(len(left.hz), len(right.hz))
    both = left.voiced[:n] & right.voiced[:n]
    voicing = float((left.voiced[:n] != right.voiced[:n]).mean()) if n else 0.0
    if not both.any():
        return PitchError(float("nan"), float("nan"), voicing, 0)
    a, b = left.hz[:n][both], right.hz[:n][both]
    cents = 1200.0 * np.log2(b / a)
    return PitchError(
        cents=float(np.sqrt((cents**2).mean())),
        hz=float(np.sqrt(((b - a) ** 2).mean())),
        voicing=voicing,
        frames=int(both.sum()),
    )
