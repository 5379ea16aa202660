"""What codes carry: usage, entropy and perplexity per layer, nominal and entropy-coded rate.

Letters: K codebooks, C codebook size, Q query positions.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class CodeStatistics:
    """Statistics over all codes of a coder on a data set."""

    usage: tuple[float, ...]  # [K], share of the C entries that occur at all
    entropy_bits: tuple[float, ...]  # [K], zeroth order, of the empirical distribution
    perplexity: tuple[float, ...]  # [K], 2 ** entropy
    positions: int  # positions Q counted over all clips
    kbps_nominal: float  # frame rate x sum of log2 C
    kbps_entropy: float  # frame rate x sum of the entropies: what an ideal zeroth-order coder needs


def code_histogram(codes: Iterable[npt.ArrayLike], codebook_size: int) -> npt.NDArray[np.int64]:
    """Count how often each entry occurs, [K, C], over codes [K, Q] of any number of clips."""
    counts: npt.NDArray[np.int64] | None = None
    for item in codes:
        array = np.asarray(item)
        if array.ndim != 2:
            raise ValueError(f"codes must be [K, Q], got shape {array.shape}")
        if array.size and (array.min() < 0 or array.max() >= codebook_size):
            raise ValueError(
                f"codes must lie in 0..{codebook_size - 1}, got {array.min()}..{array.max()}"
            )
        if counts is None:
            counts = np.zeros((array.shape[0], codebook_size), dtype=np.int64)
        if array.shape[0] != len(counts):
            raise ValueError(f"expected {len(counts)} codebooks as before, got {array.shape[0]}")
        counts += np.stack([np.bincount(row, minlength=codebook_size) for row in array])
    if counts is None:
        raise ValueError("code statistics need the codes of at least one clip, got none")
    return counts


def code_statistics(
    codes: Iterable[npt.ArrayLike], *, codebook_size: int, frame_rate: float
) -> CodeStatistics:
    """Statistics of codes [K, Q] of many clips.

    The entropy is the plug-in estimate, which is too low on few positions: by about
    ``(entries used - 1) / (2 positions ln 2)`` bits per layer.

    Args:
        codes: integer arrays [K, Q], one per clip.
        codebook_size: C.
        frame_rate: positions per second.
    """
    counts = code_histogram(codes, codebook_size)
    positions = int(counts[0].sum())
    if positions == 0:
        raise ValueError("code statistics need at least one position, got none")
    share = counts / positions
    with np.errstate(divide="ignore", invalid="ignore"):
        entropy = -np.where(share > 0, share * np.log2(share), 0.0).sum(axis=1)
    return CodeStatistics(
        usage=tuple(float(u) for u in (counts > 0).mean(axis=1)),
        entropy_bits=tuple(float(h) for h in entropy),
        perplexity=tuple(float(p) for p in 2.0**entropy),
        positions=positions,
        kbps_nominal=frame_rate * len(counts) * float(np.log2(codebook_size)) / 1000.0,
        kbps_entropy=frame_rate * float(entropy.sum()) / 1000.0,
    )
