"""Bootstrap confidence intervals: means, paired differences and ratios such as error rates.

Clips are resampled with replacement, so an interval tells how much a value varies between sets of
clips of the same kind, not between speakers or training runs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

RESAMPLES = 2000
LEVEL = 0.95
_BLOCK_VALUES = 4_000_000


@dataclass(frozen=True)
class Interval:
    """A mean with its interval."""

    mean: float
    low: float
    high: float
    n: int  # number of values


@dataclass(frozen=True)
class Score:
    """A metric of a test set with its interval."""

    name: str
    value: Interval
    percent: bool = False  # whether it is shown in percent


@dataclass(frozen=True)
class PairedDifference:
    """Mean of ``a - b`` over the clips with both values."""

    difference: Interval
    higher: float  # share of the clips with a > b
    unpaired: int  # clips with only one of the values

    @property
    def clear(self) -> bool:
        """Whether the interval excludes zero."""
        return self.difference.low > 0.0 or self.difference.high < 0.0


def bootstrap_interval(
    values: npt.ArrayLike,
    *,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
    seed: int = 0,
) -> Interval:
    """Mean of ``values`` with its percentile bootstrap interval; deterministic for a seed.

    Args:
        values: one finite number per clip [n].
        resamples: number of bootstrap samples.
        level: coverage, between 0 and 1.
        seed: of the resampling.

    Raises:
        ValueError: there is no value, a value is not finite, or ``level`` is out of range.
    """
    data = np.asarray(values, dtype=np.float64).ravel()
    if data.size == 0:
        raise ValueError("an interval needs at least one value, got none")
    if not np.isfinite(data).all():
        raise ValueError(
            f"expected finite values, got {int((~np.isfinite(data)).sum())} that are not"
        )
    if not 0.0 < level < 1.0:
        raise ValueError(f"level must lie between 0 and 1, got {level}")
    rng = np.random.default_rng(seed)
    means = np.empty(resamples)
    block = max(1, _BLOCK_VALUES // data.size)
    for start in range(0, resamples, block):
        count = min(block, resamples - start)
        draws = rng.integers(0, data.size, size=(count, data.size))
        means[start : start + count] = data[draws].mean(axis=1)
    tail = (1.0 - level) / 2.0
    low, high = np.quantile(means, [tail, 1.0 - tail])
    return Interval(float(data.mean()), float(low), float(high), int(data.size))


def paired_difference(
    a: Mapping[str, float],
    b: Mapping[str, float],
    *,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
    seed: int = 0,
) -> PairedDifference | None:
    """Mean difference ``a - b`` over the clips in both, or None when there is none.

    Args:
        a: value by clip id.
        b: value by clip id.
        resamples: as in `bootstrap_interval`.
        level: as in `bootstrap_interval`.
        seed: as in `bootstrap_interval`.
    """
    shared: Sequence[str] = sorted(set(a) & set(b))
    if not shared:
        return None
    differences = np.array([a[key] - b[key] for key in shared])
    return PairedDifference(
        difference=bootstrap_interval(differences, resamples=resamples, level=level, seed=seed),
        higher=float((differences > 0).mean()),
        unpaired=len(set(a) ^ set(b)),
    )


def rate_interval(
    errors: npt.ArrayLike,
    sizes: npt.ArrayLike,
    *,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
    seed: int = 0,
) -> Interval:
    """The rate ``sum(errors) / sum(sizes)`` with its percentile bootstrap interval.

    The rate of a corpus is not the mean of the rates of its clips, so pairs of errors and sizes are
    resampled (Bisani and Ney, "Bootstrap estimates for confidence intervals in ASR performance
    evaluation", 2004).

    Args:
        errors: per clip [n].
        sizes: words, letters or attempts per clip [n].
        resamples: as in `bootstrap_interval`.
        level: as in `bootstrap_interval`.
        seed: as in `bootstrap_interval`.

    Raises:
        ValueError: there is no clip, the lengths differ, or the sizes sum to zero.
    """
    above, below = np.asarray(errors, np.float64), np.asarray(sizes, np.float64)
    if above.shape != below.shape or above.ndim != 1 or not above.size:
        raise ValueError(
            "expected one number of errors and one size per clip, got shapes "
            f"{list(above.shape)} and {list(below.shape)}"
        )
    if not below.sum() > 0:
        raise ValueError(f"the sizes of {below.size} clips sum to {below.sum()}: there is no rate")
    rng = np.random.default_rng(seed)
    draws = rng.integers(0, above.size, size=(resamples, above.size))
    totals = below[draws].sum(axis=1)
    # The rate of a resample without any word is undefined; it is left out.
    rates = above[draws].sum(axis=1)[totals > 0] / totals[totals > 0]
    tail = (1.0 - level) / 2.0
    low, high = np.quantile(rates, [tail, 1.0 - tail])
    return Interval(float(above.sum() / below.sum()), float(low), float(high), int(above.size))


def format_interval(
    interval: Interval, *, percent: bool = True, digits: int | None = None, signed: bool = False
) -> str:
    """The interval for tables, "12.3 [10.1, 14.9]".

    Args:
        interval: to format.
        percent: multiply by 100.
        digits: decimals, by default 1 for percent and 2 otherwise.
        signed: write "+" before positive values.
    """
    factor = 100.0 if percent else 1.0
    digits = (1 if percent else 2) if digits is None else digits
    sign = "+" if signed else ""
    values = (interval.mean, interval.low, interval.high)
    mean, low, high = (f"{value * factor:{sign}.{digits}f}" for value in values)
    return f"{mean} [{low}, {high}]"
