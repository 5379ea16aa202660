"""Whether a synthesized waveform can be the reading of its text."""

from __future__ import annotations

import numpy as np

from ...core.audio import AudioError, Waveform, check_peak
from ...core.data.decoding import check_waveform

# Letters per second at speed 1: speakers of English say 12 to 18. Beyond these limits the model has
# skipped or repeated words. Pauses at both ends count for the slowest reading only.
_MOST_LETTERS_PER_SECOND = 40.0
_FEWEST_LETTERS_PER_SECOND = 4.0
_PAUSES_SECONDS = 2.0
# Consecutive samples at the peak that are clipping; a model's samples may exceed full scale.
_CLIPPED_RUN = 4
_FULL_SCALE = 0.99
_FLAT = 0.9999  # of the peak


def check_reading(wav: Waveform, sample_rate: int, text: str, speed: float) -> None:
    """Check a waveform [S] against its text.

    Raises:
        AudioError: Its reason is ``empty``, ``nan``, ``silent``, ``too_short`` or ``too_long`` for
            the letters of the text, or ``clipped``.
    """
    if not wav.size:
        raise AudioError("empty", "no samples")
    check_peak(wav, "the reading")
    letters = sum(char.isalnum() for char in text)
    check_waveform(
        wav,
        sample_rate,
        min_seconds=letters / _MOST_LETTERS_PER_SECOND / speed,
        max_seconds=(_PAUSES_SECONDS + letters / _FEWEST_LETTERS_PER_SECOND) / speed,
        silence_dbfs=-60.0,
    )
    if is_clipped(wav):
        raise AudioError("clipped", f"{_CLIPPED_RUN} or more consecutive samples at full scale")


def is_clipped(wav: Waveform) -> bool:
    """Whether several consecutive samples of a waveform [S] are equal at full scale or above."""
    peak = float(np.abs(wav).max(initial=0.0))
    if peak < _FULL_SCALE or len(wav) < _CLIPPED_RUN:
        return False
    runs = np.convolve(np.abs(wav) >= _FLAT * peak, np.ones(_CLIPPED_RUN), "valid")
    return bool((runs >= _CLIPPED_RUN).any())
