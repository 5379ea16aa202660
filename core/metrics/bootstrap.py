"""Means with percentile bootstrap intervals, alone and as paired differences.

The unit that is drawn again is the clip: the intervals say how much a figure would move with other
clips of the same kind, not with other speakers or another training run.
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
    n: int  # values that went in


@dataclass(frozen=True)
class PairedDifference:
    """Mean of ``a - b`` over the clips that both have."""

    difference: Interval
    higher: float  # share of clips on which a is higher than b
    unpaired: int  # clips that only one of the two has

    @property
    def clear(self) -> bool:
        """Whether the interval leaves zero out."""
        return self.difference.low > 0.0 or self.difference.high < 0.0


def bootstrap_interval(
    values: npt.ArrayLike,
    *,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
    seed: int = 0,
) -> Interval:
    """Mean of ``values`` with its percentile bootstrap interval, the same for the same seed.

    Args:
        values: one number per clip [n]; nan is refused, so that a failed clip cannot hide.
        resamples: draws with replacement.
        level: coverage, between 0 and 1.
        seed: of the draws.
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
    """Difference ``a - b`` clip by clip, or None when no clip is in both.

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
