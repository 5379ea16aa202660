"""A watch for generation that goes round in circles: the run-away of every language model.

A row that equals the row `p` before it, again and again, is a cycle of length `p`: the same frame
for ever (p = 1), or the same few words. A tripped guard ends its row and is reported as the
row's finish; nothing is cut away.

Letters: `N` rows, `P` cycle lengths that are watched, `S` streams.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class RepetitionLimits:
    """When repetition counts as a run-away. A limit of 0 is off."""

    audio_limit: int = 50  # frames in a row that repeat: four seconds at 12.5 Hz
    audio_period: int = 4  # longest cycle, in frames
    text_limit: int = 24  # text ids in a row that repeat
    text_period: int = 8  # longest cycle, in text ids

    def __post_init__(self) -> None:
        for name in ("audio_limit", "text_limit"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must be 0 (off) or more; came {getattr(self, name)}")
        for name in ("audio_period", "text_period"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1; came {getattr(self, name)}")


DEFAULT_LIMITS = RepetitionLimits()
NO_LIMITS = RepetitionLimits(audio_limit=0, text_limit=0)


class RepetitionDetector:
    """Counts, for every row and cycle length, for how long the row has been repeating."""

    def __init__(self, num_rows: int, limit: int, period: int, stride: int, device: torch.device):
        self.lags = torch.arange(1, period + 1, device=device) * stride  # [P] grid rows
        self.limit = limit * stride
        self._runs = torch.zeros(num_rows, period, dtype=torch.int64, device=device)

    def tripped(self, grid: Tensor, place: int) -> Tensor:
        """Look at row `place` of grids `[N, R, S]`, at least the longest lag; `[N]` bool."""
        same = (grid[:, place - self.lags] == grid[:, place, None]).all(dim=-1)  # [N, P]
        self._runs = (self._runs + 1) * same
        return (self._runs >= self.limit).any(dim=1)

    def keep(self, rows: Tensor) -> None:
        """Go on with these rows only."""
        self._runs = self._runs[rows]
