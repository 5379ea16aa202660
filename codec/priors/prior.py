"""The prior file: centroids of two teachers, their scaling, and metadata.

Shapes: ``C`` codebook entries, ``P`` width of an entry.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...core.reading import field as field_of
from ...core.reading import reading
from .files import load_tensors, save_tensors

FORMAT, VERSION = "almtok-prior", 1
HALVES = ("speech", "sound")


@dataclass(frozen=True)
class Prior:
    """Semantic prior: a first codebook that is never trained (paper.md 3).

    A row is ``(x - mean) / scale`` of a cluster centre ``x`` in the feature space of the teacher.
    """

    centroids: Tensor  # [C, P] float32; the first num_speech rows are the speech half
    num_speech: int
    mean: Tensor  # [2, P] float32, of the speech and of the sound half
    scale: Tensor  # [2] float32, mean norm of the centred rows; 1 for an empty half
    counts: Tensor  # [C] int64, vectors of each cluster (0: unknown)
    metadata: Mapping[str, Any] = field(default_factory=dict)  # teachers, layers, seed, sizes ...

    def __post_init__(self) -> None:
        size, width = _shape(self.centroids)
        shapes = {
            "mean": ((2, width), self.mean),
            "scale": ((2,), self.scale),
            "counts": ((size,), self.counts),
        }
        for name, (shape, tensor) in shapes.items():
            if tuple(tensor.shape) != shape:
                raise ValueError(f"{name} must be {list(shape)}, got {list(tensor.shape)}")
        if not 0 <= self.num_speech <= size:
            raise ValueError(f"num_speech must lie in 0..{size}, got {self.num_speech}")
        if not bool(torch.isfinite(self.centroids).all()):
            raise ValueError("centroids must be finite, got NaN or infinity")

    @property
    def codebook_size(self) -> int:
        """Number of entries C."""
        return self.centroids.shape[0]

    @property
    def dim(self) -> int:
        """Width P of an entry."""
        return self.centroids.shape[1]

    def save(self, path: str | Path) -> None:
        """Write the file atomically; equal priors are equal files."""
        tensors = {
            "centroids": self.centroids.float(),
            "mean": self.mean.float(),
            "scale": self.scale.float(),
            "counts": self.counts.long(),
        }
        metadata = dict(self.metadata) | {
            "format": FORMAT,
            "version": VERSION,
            "num_speech": self.num_speech,
        }
        save_tensors(Path(path), tensors, metadata)

    def describe(self) -> str:
        """Return a summary as text."""
        lines = [
            f"{self.codebook_size} entries of width {self.dim}, "
            f"{self.num_speech} speech + {self.codebook_size - self.num_speech} sound, "
            f"seed {self.metadata.get('seed', 'unknown')}",
            f"{'half':<8}{'entries':>8}  {'teacher':<40}"
            f"{'vectors':>10}{'hours':>7}{'usage bits':>12}",
        ]
        for row, half in enumerate(HALVES):
            lines.append(self._describe_half(row, half))
        lines.append(
            "usage bits: entropy of the clusters on their training data "
            "(log2 of the entries if all are used equally)"
        )
        return "\n".join(lines)

    def _describe_half(self, row: int, half: str) -> str:
        rows = slice(0, self.num_speech) if row == 0 else slice(self.num_speech, None)
        counts = self.counts[rows].double()
        metadata = self.metadata.get(half, {})
        bits = "unknown"
        if counts.sum() > 0:
            shares = counts / counts.sum()
            bits = f"{float(torch.special.entr(shares).sum() / torch.log(torch.tensor(2.0))):.2f}"
        hours = f"{metadata['seconds'] / 3600:.2f}" if "seconds" in metadata else "-"
        return (
            f"{half:<8}{len(counts):>8}  {metadata.get('teacher', 'none'):<40}"
            f"{metadata.get('vectors', 0):>10}{hours:>7}{bits:>12}"
        )


def load_prior(path: str | Path) -> Prior:
    """Read a prior file.

    Raises:
        ValueError: it is damaged, or no prior file of this version.
        OSError: it cannot be read.

    Example:
        >>> import tempfile
        >>> path = f"{tempfile.mkdtemp()}/prior.safetensors"
        >>> random_prior(seed=0, codebook_size=8, dim=4).save(path)
        >>> load_prior(path).num_speech
        4
    """
    tensors, metadata = load_tensors(Path(path))
    for name, expected in (("format", FORMAT), ("version", VERSION)):
        if metadata.get(name) != expected:
            raise ValueError(
                f"{path} is not a prior file: {name} must be {expected!r},"
                f" got {metadata.get(name)!r}"
            )
    names = {"centroids", "mean", "scale", "counts"}
    for odd, words in ((names - tensors.keys(), "lacks"), (tensors.keys() - names, "has")):
        if odd:
            raise ValueError(f"{path} {words} the tensors {', '.join(sorted(odd))}")
    with reading(path):
        num_speech = field_of(metadata, "num_speech", int, path)
        return Prior(num_speech=num_speech, metadata=metadata, **tensors)


def random_prior(
    *, seed: int, codebook_size: int = 2048, dim: int = 768, num_speech: int | None = None
) -> Prior:
    """Return a prior of random entries with the usual scaling (paper.md 3, D)."""
    num_speech = codebook_size // 2 if num_speech is None else num_speech
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randn(codebook_size, dim, generator=generator)
    metadata = {
        "seed": seed,
        "speech": {"teacher": "random"},
        "sound": {"teacher": "random"},
    }
    return join_halves(
        [rows[:num_speech], rows[num_speech:]],
        torch.zeros(codebook_size, dtype=torch.int64),
        metadata,
    )


def join_halves(halves: list[Tensor], counts: Tensor, metadata: Mapping[str, Any]) -> Prior:
    """Normalise the centroids of each teacher and concatenate them.

    Each half is centred and divided by its mean norm, so that both have the same scale.

    Args:
        halves: speech [C1, P] and sound [C2, P]; one of them may be empty.
        counts: [C1 + C2] int64.
        metadata: of the file.
    """
    width = halves[0].shape[1]
    means, scales, rows = torch.zeros(2, width), torch.ones(2), []
    for index, half in enumerate(halves):
        if len(half):
            centroids = half.double()
            mean = centroids.mean(0)
            norm = (centroids - mean).norm(dim=1).mean()
            # Equal entries have no scale: all become zero.
            scale = norm if float(norm) > 0 else torch.ones(())
            means[index], scales[index] = mean.float(), scale.float()
            half = ((centroids - mean) / scale).float()
        rows.append(half)
    return Prior(torch.cat(rows), len(halves[0]), means, scales, counts, metadata)


def _shape(centroids: Tensor) -> tuple[int, int]:
    if centroids.ndim != 2 or 0 in centroids.shape:
        raise ValueError(f"centroids must be [C, P], got {list(centroids.shape)}")
    return centroids.shape[0], centroids.shape[1]
