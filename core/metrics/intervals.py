"""Rates with bootstrap intervals: the sum of errors by the sum of words, clips drawn again.

The rate of a corpus is not the mean of the rates of its clips, so the clips' pairs are drawn
(Bisani and Ney 2004); means are the codec's (`core/metrics/bootstrap.py`).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from .bootstrap import LEVEL, RESAMPLES, Interval, bootstrap_interval

__all__ = ["Interval", "bootstrap_interval", "rate_interval", "shown"]


def rate_interval(
    errors: npt.ArrayLike,
    sizes: npt.ArrayLike,
    *,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
    seed: int = 0,
) -> Interval:
    """The rate ``sum(errors) / sum(sizes)`` with its percentile bootstrap interval.

    Args:
        errors: per clip [n].
        sizes: words, letters or tries per clip [n].
        resamples: draws with replacement.
        level: coverage.
        seed: of the draws.

    Raises:
        ValueError: for no clips, lists of two lengths, or sizes that sum to nothing.
    """
    above, below = np.asarray(errors, np.float64), np.asarray(sizes, np.float64)
    if above.shape != below.shape or above.ndim != 1 or not above.size:
        raise ValueError(
            f"expected one number of errors and one size per clip; came {list(above.shape)} and "
            f"{list(below.shape)}"
        )
    if not below.sum() > 0:
        raise ValueError(f"the sizes of {below.size} clips sum to {below.sum()}: there is no rate")
    rng = np.random.default_rng(seed)
    draws = rng.integers(0, above.size, size=(resamples, above.size))
    totals = below[draws].sum(axis=1)
    # A draw without a word has no rate: it is left out.
    rates = above[draws].sum(axis=1)[totals > 0] / totals[totals > 0]
    tail = (1.0 - level) / 2.0
    low, high = np.quantile(rates, [tail, 1.0 - tail])
    return Interval(float(above.sum() / below.sum()), float(low), float(high), int(above.size))


def shown(interval: Interval, *, percent: bool = True) -> str:
    """The interval for tables: "12.3 [10.1, 14.9]"."""
    factor = 100.0 if percent else 1.0
    digits = 1 if percent else 2
    values = (interval.mean, interval.low, interval.high)
    mean, low, high = (f"{value * factor:.{digits}f}" for value in values)
    return f"{mean} [{low}, {high}]"
