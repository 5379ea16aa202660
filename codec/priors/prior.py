"""The prior file: centroids of two teachers, how they were scaled, and who made them.

Letters: ``C`` codebook entries, ``P`` width of an entry.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .files import load_tensors, save_tensors

FORMAT, VERSION = "almtok-prior", 1
HALVES = ("speech", "sound")


@dataclass(frozen=True)
class Prior:
    """A first codebook that is never trained (paper.md 3).

    A row of a half came from a cluster centre ``x`` of that half's teacher as
    ``(x - mean) / scale``; undo it to go back to the teacher's space.
    """

    centroids: Tensor  # [C, P] float32; the first num_speech rows are the speech half
    num_speech: int
    mean: Tensor  # [2, P] float32, of the speech and of the sound half
    scale: Tensor  # [2] float32, average norm after the mean is taken away; 1 for an empty half
    counts: Tensor  # [C] int64, training vectors of each cluster (0: not known)
    about: Mapping[str, Any] = field(default_factory=dict)  # teachers, layers, seed, sizes ...

    def __post_init__(self) -> None:
        size, width = _shape(self.centroids)
        wanted = {
            "mean": ((2, width), self.mean),
            "scale": ((2,), self.scale),
            "counts": ((size,), self.counts),
        }
        for name, (shape, tensor) in wanted.items():
            if tuple(tensor.shape) != shape:
                raise ValueError(f"{name} must be {list(shape)}, got {list(tensor.shape)}")
        if not 0 <= self.num_speech <= size:
            raise ValueError(f"num_speech must lie in 0..{size}, got {self.num_speech}")
        if not bool(torch.isfinite(self.centroids).all()):
            raise ValueError("centroids must be finite numbers")

    @property
    def codebook_size(self) -> int:
        """C."""
        return self.centroids.shape[0]

    @property
    def dim(self) -> int:
        """P."""
        return self.centroids.shape[1]

    def save(self, path: str | Path) -> None:
        """Write the file aside and rename it; equal priors are equal files."""
        tensors = {
            "centroids": self.centroids.float(),
            "mean": self.mean.float(),
            "scale": self.scale.float(),
            "counts": self.counts.long(),
        }
        about = dict(self.about) | {
            "format": FORMAT,
            "version": VERSION,
            "num_speech": self.num_speech,
        }
        save_tensors(Path(path), tensors, about)

    def describe(self) -> str:
        """Return what the prior holds, for people."""
        lines = [
            f"{self.codebook_size} entries of width {self.dim}, "
            f"{self.num_speech} speech + {self.codebook_size - self.num_speech} sound, "
            f"seed {self.about.get('seed', 'unknown')}",
            f"{'half':<8}{'entries':>8}  {'teacher':<40}"
            f"{'vectors':>10}{'hours':>7}{'usage bits':>12}",
        ]
        for row, half in enumerate(HALVES):
            lines.append(self._describe_half(row, half))
        lines.append(
            "usage bits: entropy of the clusters on the data they were made from "
            "(log2 of the entries would be perfectly even)"
        )
        return "\n".join(lines)

    def _describe_half(self, row: int, half: str) -> str:
        rows = slice(0, self.num_speech) if row == 0 else slice(self.num_speech, None)
        counts = self.counts[rows].double()
        facts = self.about.get(half, {})
        bits = "unknown"
        if counts.sum() > 0:
            shares = counts / counts.sum()
            bits = f"{float(torch.special.entr(shares).sum() / torch.log(torch.tensor(2.0))):.2f}"
        hours = f"{facts['seconds'] / 3600:.2f}" if "seconds" in facts else "-"
        return (
            f"{half:<8}{len(counts):>8}  {facts.get('teacher', 'none'):<40}"
            f"{facts.get('vectors', 0):>10}{hours:>7}{bits:>12}"
        )


def load_prior(path: str | Path) -> Prior:
    """Read a prior file.

    Example:
        >>> import tempfile
        >>> path = f"{tempfile.mkdtemp()}/prior.safetensors"
        >>> random_prior(seed=0, codebook_size=8, dim=4).save(path)
        >>> load_prior(path).num_speech
        4
    """
    tensors, about = load_tensors(Path(path))
    if about.get("format") != FORMAT:
        raise ValueError(f"{path} is not a prior file: its format is {about.get('format')!r}")
    if about.get("version") != VERSION:
        raise ValueError(f"{path} has version {about.get('version')}, this code reads {VERSION}")
    missing = sorted({"centroids", "mean", "scale", "counts"} - tensors.keys())
    if missing:
        raise ValueError(f"{path} lacks the tensors {', '.join(missing)}")
    num_speech = about["num_speech"]
    return Prior(num_speech=num_speech, about=about, **{name: tensors[name] for name in tensors})


def random_prior(
    *, seed: int, codebook_size: int = 2048, dim: int = 768, num_speech: int | None = None
) -> Prior:
    """Return frozen random entries, scaled as real ones (paper.md 3, D)."""
    num_speech = codebook_size // 2 if num_speech is None else num_speech
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randn(codebook_size, dim, generator=generator)
    about = {
        "seed": seed,
        "speech": {"teacher": "random"},
        "sound": {"teacher": "random"},
    }
    return join_halves(
        [rows[:num_speech], rows[num_speech:]],
        torch.zeros(codebook_size, dtype=torch.int64),
        about,
    )


def join_halves(halves: list[Tensor], counts: Tensor, about: Mapping[str, Any]) -> Prior:
    """Normalise the centroids of each teacher and stack them.

    Each half loses its mean and is divided by its average norm, so that neither wins by scale.

    Args:
        halves: speech [C1, P] and sound [C2, P]; one of them may be empty.
        counts: [C1 + C2] int64.
        about: facts for the file.
    """
    width = halves[0].shape[1]
    means, scales, rows = torch.zeros(2, width), torch.ones(2), []
    for index, half in enumerate(halves):
        if len(half):
            wide = half.double()
            mean = wide.mean(0)
            norm = (wide - mean).norm(dim=1).mean()
            # A half of one entry, or of equal ones, has no scale: it stays at the origin.
            scale = norm if float(norm) > 0 else torch.ones(())
            means[index], scales[index] = mean.float(), scale.float()
            half = ((wide - mean) / scale).float()
        rows.append(half)
    return Prior(torch.cat(rows), len(halves[0]), means, scales, counts, about)


def _shape(centroids: Tensor) -> tuple[int, int]:
    if centroids.ndim != 2 or 0 in centroids.shape:
        raise ValueError(f"centroids must be [C, P], got {list(centroids.shape)}")
    return centroids.shape[0], centroids.shape[1]
