"""Fréchet distance of two sets of embeddings, for few clips too.

The distance of two samples is larger than that of their distributions: for fewer clips than
dimensions, several times as large. It is therefore computed for subsets of the clips and
extrapolated to infinitely many, as FAD-infinity (Chong and Forsyth, "Effectively Unbiased FID and
Inception Score and where to find them", 2020; Gui et al., "Adapting Frechet Audio Distance for
Generative Music Evaluation", 2024).

Shapes: N clips, D dimensions.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .intervals import Interval

MIN_CLIPS = 32
_SHARES = (1.0, 0.875, 0.75, 0.625, 0.5)  # of the clips, in subsets of the extrapolation
_DRAWS = 10  # subsets of each share
_HALVES = 40  # subsets of half of the clips, for the interval
_Z = 1.96

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class FrechetDistance:
    """Fréchet distance of two sets of clips."""

    value: Interval  # extrapolated to infinitely many clips
    plain: float  # of these clips, without extrapolation: larger the fewer they are


def frechet_distance(reference: npt.ArrayLike, estimate: npt.ArrayLike) -> float:
    """Fréchet distance of Gaussians with the means and covariances of two sets.

    The trace of the square root of the product of the covariances is the sum of the singular values
    of the product of the centred sets, so covariances of any rank need no regularization.

    Args:
        reference: embeddings [N, D], N at least 2.
        estimate: embeddings [M, D], M at least 2.
    """
    a, b = _checked(reference), _checked(estimate)
    if a.shape[1] != b.shape[1]:
        raise ValueError(f"embeddings must have equal widths, got {a.shape[1]} and {b.shape[1]}")
    mean = a.mean(axis=0) - b.mean(axis=0)
    a, b = _root(a), _root(b)
    common = np.linalg.svd(a @ b.T, compute_uv=False).sum()
    return float(mean @ mean + (a**2).sum() + (b**2).sum() - 2.0 * common)


def extrapolated_distance(
    reference: npt.ArrayLike, estimate: npt.ArrayLike, *, seed: int = 0
) -> FrechetDistance:
    """Fréchet distance for infinitely many clips: the intercept of a line over 1 / clips.

    Subsets have the same clips in both sets, so that reconstructions close to their recordings
    have hardly any bias. For independent sets of one distribution (256 dimensions, eigenvalues
    k^-1.5), whose distance is 0, 40 clips give 0.32 and 0.12 extrapolated, 100 clips 0.18 and 0.07,
    400 clips 0.05 and 0.00. The 95 % interval is that of a jackknife which leaves out half of the
    clips (Shao and Wu, "A General Theory for Jackknife Variance Estimation", 1989).

    Args:
        reference: embeddings [N, D] of recordings.
        estimate: embeddings [N, D]; row i is of the same clip as row i of the reference.
        seed: of the subsets.

    Raises:
        ValueError: There are fewer than `MIN_CLIPS` clips, or the shapes differ.
    """
    a, b = _checked(reference), _checked(estimate)
    if a.shape != b.shape:
        raise ValueError(f"embeddings must be of the same clips, got {a.shape} and {b.shape}")
    count = len(a)
    if count < MIN_CLIPS:
        raise ValueError(f"a Fréchet distance needs at least {MIN_CLIPS} clips, got {count}")
    rng = np.random.default_rng(seed)

    def of_subset(size: int) -> float:
        chosen = np.sort(rng.permutation(count)[:size])
        return frechet_distance(a[chosen], b[chosen])

    plain = frechet_distance(a, b)
    inverse, distances = [1.0 / count], [plain]
    for share in _SHARES[1:]:
        size = round(share * count)
        inverse.append(1.0 / size)
        distances.append(float(np.mean([of_subset(size) for _ in range(_DRAWS)])))
    _, value = np.polyfit(inverse, distances, 1)
    spread = _Z * math.sqrt(np.var([of_subset(count // 2) for _ in range(_HALVES)]))
    return FrechetDistance(
        Interval(float(value), float(value - spread), float(value + spread), count), plain
    )


def _checked(embeddings: npt.ArrayLike) -> Array:
    values = np.asarray(embeddings, dtype=np.float64)
    if values.ndim != 2 or len(values) < 2:
        raise ValueError(f"embeddings must be [N, D] with N at least 2, got {values.shape}")
    if not np.isfinite(values).all():
        raise ValueError("embeddings must be finite")
    return values


def _root(values: Array) -> Array:
    """A root R of the covariance, R^T R, with at most D rows."""
    centred = (values - values.mean(axis=0)) / math.sqrt(len(values) - 1)
    return centred if len(centred) <= centred.shape[1] else np.linalg.qr(centred).R
