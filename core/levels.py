"""Levels of waveforms, in dB of full scale."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from .audio import Waveform

FRAME_SECONDS = 0.05
# Frames this far below the loudest are pauses, which must not lower the level of speech.
ACTIVE_RANGE_DB = 30.0
FLOOR_DBFS = -140.0
# Limits of `normalize_loudness`: gain, and peak after the gain.
MAX_GAIN_DB = 30.0
PEAK_LIMIT = 0.99


@dataclass(frozen=True)
class Levels:
    """RMS levels in dB of full scale; digital silence is -140."""

    loudest_dbfs: float  # of the loudest 50 ms frame
    active_dbfs: float  # of all active frames


def measure_levels(wav: Waveform, sample_rate: int) -> Levels:
    """RMS levels of the 50 ms frames of a waveform [S] with at least one sample.

    Example:
        >>> measure_levels(np.full(24000, 0.1, np.float32), 24000)
        Levels(loudest_dbfs=-20.0, active_dbfs=-20.0)
    """
    frame = max(1, min(len(wav), round(FRAME_SECONDS * sample_rate)))
    squares = np.square(wav, dtype=np.float64)
    power = np.add.reduceat(squares, np.arange(0, len(wav), frame)) / frame  # [frames]
    active = power[power >= power.max() * 10 ** (-ACTIVE_RANGE_DB / 10)]
    return Levels(_decibels(power.max()), _decibels(active.mean()))


def _decibels(power: float) -> float:
    return round(10 * math.log10(max(float(power), 10 ** (FLOOR_DBFS / 10))), 3)


def normalize_loudness(level_dbfs: float, wav: Waveform, active_dbfs: float) -> Waveform:
    """Scale a waveform [S] to a level, by at most 30 dB and up to a peak of 0.99.

    Args:
        level_dbfs: Target RMS level of the active frames.
        wav: With at least one sample that is not 0.
        active_dbfs: Current RMS level of the active frames, from :func:`measure_levels`.
    """
    gain = 10 ** (min(level_dbfs - active_dbfs, MAX_GAIN_DB) / 20)
    peak = float(np.abs(wav).max()) * gain
    return wav * np.float32(gain * min(1.0, PEAK_LIMIT / peak))
