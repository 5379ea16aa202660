"""Fundamental frequency by YIN (`yin.py`), and how far two pitch contours lie apart."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import soxr
import torch

from .yin import find_periods

Array = npt.NDArray[np.float64]

PITCH_RATE = 16_000
HOP = 160  # 10 ms
LOWEST_HZ, HIGHEST_HZ = 60.0, 500.0
# A frame whose normalised difference dips below this is periodic (YIN's paper uses 0.1 to 0.2).
THRESHOLD = 0.2
# Frames this far below the loudest one are taken as unvoiced, whatever their period.
SILENCE_DB = 45.0
_WINDOW = 640
_LONGEST = int(PITCH_RATE / LOWEST_HZ) + 2
_SHORTEST = int(PITCH_RATE / HIGHEST_HZ)
_BLOCK = 1024


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


def _without_jumps(hz: Array, voiced: npt.NDArray[np.bool_]) -> Array:
    """Octave slips of one or two frames are moved to the octave of their neighbours."""
    padded = np.pad(np.where(voiced, hz, np.nan), 3, constant_values=np.nan)
    around = np.lib.stride_tricks.sliding_window_view(padded, 7)
    middle = hz.copy()
    rows = np.flatnonzero(voiced)
    if rows.size:
        middle[rows] = np.nanmedian(around[rows], axis=1)
    octave = np.round(np.log2(np.where(voiced, hz, 1.0) / np.where(voiced, middle, 1.0)))
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
        found = find_periods(torch.from_numpy(block), _SHORTEST, _LONGEST, THRESHOLD)
        part = slice(start, start + _BLOCK)
        hz[part], depth[part] = PITCH_RATE / found.samples.numpy(), found.depth.numpy()
        power[part] = (block**2).mean(axis=1)
    loud = power > max(power.max(initial=0.0) * 10.0 ** (-SILENCE_DB / 10.0), 1e-10)
    voiced = loud & (depth < THRESHOLD) & (hz >= LOWEST_HZ) & (hz <= HIGHEST_HZ)
    return PitchCurve(_without_jumps(hz, voiced), voiced)


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
