"""How loud a clip is: RMS of its loudest and of its active 50 ms frames."""

import math
from dataclasses import dataclass

import numpy as np

from ..audio import Waveform

FRAME_SECONDS = 0.05
# Frames this far below the loudest do not count as active: pauses must not lower speech's level.
ACTIVE_RANGE_DB = 30.0
FLOOR_DBFS = -140.0
# A quiet recording is not raised by more than this, nor above this peak.
MAX_GAIN_DB = 30.0
PEAK_LIMIT = 0.99


@dataclass(frozen=True)
class Levels:
    """RMS levels in dB of full scale; digital silence is -140."""

    loudest_dbfs: float
    active_dbfs: float


def measure_levels(wav: Waveform, sample_rate: int) -> Levels:
    """Levels of a waveform [S] with at least one sample.

    Example:
        >>> measure_levels(np.full(24000, 0.1, np.float32), 24000)
        Levels(loudest_dbfs=-20.0, active_dbfs=-20.0)
    """
    frame = max(1, min(len(wav), round(FRAME_SECONDS * sample_rate)))
    squares = np.square(wav, dtype=np.float64)
    power = np.add.reduceat(squares, np.arange(0, len(wav), frame)) / frame  # [frames]
    active = power[power >= power.max() * 10 ** (-ACTIVE_RANGE_DB / 10)]
    return Levels(_decibels(power.max()), _decibels(active.mean()))


def normalize_loudness(level_dbfs: float, wav: Waveform, active_dbfs: float) -> Waveform:
    """A waveform `[S]` at another level.

    Args:
        level_dbfs: wanted RMS of the active frames.
        wav: with at least one sample that is not 0.
        active_dbfs: RMS of the active frames as they are, of :func:`measure_levels`.
    """
    gain = 10 ** (min(level_dbfs - active_dbfs, MAX_GAIN_DB) / 20)
    peak = float(np.abs(wav).max()) * gain
    return wav * np.float32(gain * min(1.0, PEAK_LIMIT / peak))


def _decibels(power: float) -> float:
    return round(10 * math.log10(max(float(power), 10 ** (FLOOR_DBFS / 10))), 3)
