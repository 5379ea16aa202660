"""RepetitionDetector: ends generation that repeats itself.

A row that equals the row `p` before it, many times in a row, is a cycle of length `p`: the same
frame over and over (p = 1), or the same few words. Such a target is ended with finish "repetition";
what it has so far is kept.

Shapes: `N` rows, `P` cycle lengths, `S` streams.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class RepetitionLimits:
    """Repetition that ends a target. A limit of 0 is off."""

    audio_limit: int = 50  # repeated frames in a row: four seconds at 12.5 Hz
    audio_period: int = 4  # longest cycle, in frames
    text_limit: int = 24  # repeated text ids in a row
    text_period: int = 8  # longest cycle, in text ids

    def __post_init__(self) -> None:
        for name in ("audio_limit", "text_limit"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must be 0 (off) or more, got {getattr(self, name)}")
        for name in ("audio_period", "text_period"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")


DEFAULT_LIMITS = RepetitionLimits()
NO_LIMITS = RepetitionLimits(audio_limit=0, text_limit=0)


class RepetitionDetector:
    """Counts the repeated rows of every target, for each cycle length."""

    def __init__(self, num_rows: int, limit: int, period: int, stride: int, device: torch.device):
        self.lags = torch.arange(1, period + 1, device=device) * stride  # [P] grid rows
        self.limit = limit * stride
        self._runs = torch.zeros(num_rows, period, dtype=torch.int64, device=device)

    def tripped(self, grid: Tensor, place: int) -> Tensor:
        """Update by row `place` of grids `[N, R, S]`; returns which reach the limit, `[N]`."""
        same = (grid[:, place - self.lags] == grid[:, place, None]).all(dim=-1)  # [N, P]
        self._runs = (self._runs + 1) * same
        return (self._runs >= self.limit).any(dim=1)

    def join(self, num_rows: int) -> None:
        """Add rows."""
        new = self._runs.new_zeros(num_rows, self._runs.shape[1])
        self._runs = torch.cat([self._runs, new])

    def keep(self, rows: Tensor) -> None:
        """Keep these rows only."""
        self._runs = self._runs[rows]
