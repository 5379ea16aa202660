"""Figure: one number of an evaluation with its interval."""

from __future__ import annotations

from dataclasses import dataclass

from ...core.metrics.intervals import Interval


@dataclass(frozen=True)
class Figure:
    """One figure."""

    task: str
    name: str
    value: Interval
    percent: bool  # whether it is shown in percent
    note: str = ""
