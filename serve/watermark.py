"""A watermark: a function of the user that marks made audio, given as `FILE.py:FUNCTION`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..core.audio import Waveform, as_waveform
from ..core.functions import load_function, split_place


class Watermark:
    """A function `waveform [S] float32, rate in Hz -> waveform [S]`."""

    def __init__(self, place: str) -> None:
        """Load the function.

        Args:
            place: `FILE.py:FUNCTION`.

        Raises:
            ValueError: if there is no such function, or the file cannot be run.
        """
        parts = split_place(place)
        if parts is None:
            raise ValueError(f"watermark must be FILE.py:FUNCTION, got {place!r}")
        self._place = place
        self._function: Callable[..., Any] = load_function(*parts)

    def __call__(self, waveform: Waveform, rate: int) -> Waveform:
        """Mark a waveform.

        Raises:
            RuntimeError: if the function fails, or returns other than as many finite samples: audio
                must not be sent without its mark.
        """
        try:
            marked = as_waveform(self._function(waveform, rate))
        except Exception as error:
            raise RuntimeError(f"watermark {self._place} failed: {error}") from error
        if marked.shape != waveform.shape or not np.isfinite(marked).all():
            raise RuntimeError(
                f"watermark {self._place} must return {len(waveform)} finite samples, got"
                f" {len(marked)}"
            )
        return marked
