"""Teacher features on disk, one file per shard, and access to their vectors.

Shapes: ``N`` vectors, ``P`` width, ``n`` selected vectors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from ...core.audio import resample
from .corpus import Piece, ReadingPlan, sample_frames
from .files import write_atomically
from .teacher import Teacher

if TYPE_CHECKING:
    from ...core.data import AudioCorpus


@dataclass(frozen=True)
class ShardVectors:
    """The concatenated rows of several memory-mapped arrays."""

    shards: tuple[NDArray[np.floating], ...]  # each [N_i, P]

    @classmethod
    def open(cls, paths: Sequence[Path]) -> ShardVectors:
        """Map files without reading them."""
        return cls(tuple(np.load(path, mmap_mode="r", allow_pickle=False) for path in paths))

    @property
    def shape(self) -> tuple[int, int]:
        """(N, P)."""
        return sum(len(shard) for shard in self.shards), self.shards[0].shape[1]

    def gather(self, rows: Tensor) -> Tensor:
        """Return rows [n] in ascending order as float32 [n, P]."""
        indices = rows.numpy()
        ends = np.cumsum([len(shard) for shard in self.shards])
        cuts = np.searchsorted(indices, ends)
        parts, first, before = [], 0, 0
        for shard, cut, end in zip(self.shards, cuts, ends, strict=True):
            parts.append(shard[indices[first:cut] - before])
            first, before = cut, end
        return torch.from_numpy(np.concatenate(parts).astype(np.float32))


def extract(
    corpus: AudioCorpus,
    plan: ReadingPlan,
    teacher: Teacher,
    folder: Path,
    *,
    share: float,
    batch_seconds: float,
    seed: int,
    label: str,
) -> list[Path]:
    """Compute the features of the missing shards; return the files of all shards in order.

    Args:
        corpus: The audio.
        plan: Pieces of the shards.
        teacher: Computes the features.
        folder: Folder of the shards.
        share: Share of the feature frames to keep.
        batch_seconds: Seconds of audio per batch of the teacher.
        seed: Of the choice of frames.
        label: Description of the progress bar.
    """
    paths = [folder / f"features-{number:05d}.npy" for number in range(len(plan.shards))]
    missing = [number for number, path in enumerate(paths) if not path.is_file()]
    if not missing:
        return paths
    seconds = sum(piece.length for shard in plan.shards for piece in shard) / corpus.sample_rate
    with tqdm(total=round(seconds), desc=label, unit="s") as bar:
        for number, shard in enumerate(plan.shards):
            if number in missing:
                vectors = _features(corpus, shard, teacher, share, batch_seconds, seed)
                write_atomically(paths[number], partial(_save, vectors))
            bar.update(round(sum(piece.length for piece in shard) / corpus.sample_rate))
    return paths


def _save(vectors: NDArray[np.float16], path: Path) -> None:
    with path.open("wb") as file:  # np.save would add a suffix to a path
        np.save(file, vectors, allow_pickle=False)


def _features(
    corpus: AudioCorpus,
    pieces: Sequence[Piece],
    teacher: Teacher,
    share: float,
    batch_seconds: float,
    seed: int,
) -> NDArray[np.float16]:
    """Return the kept features [n, P] of one shard."""
    # Sorted by length, for little padding.
    pieces = sorted(pieces, key=lambda piece: (-piece.length, piece.id, piece.start))
    kept = [np.zeros((0, teacher.dim), np.float16)]
    for batch in _batches(pieces, batch_seconds * corpus.sample_rate):
        wavs = [_read(corpus, piece, teacher.sample_rate) for piece in batch]
        for piece, features in zip(batch, teacher.features_batch(wavs), strict=True):
            if not bool(torch.isfinite(features).all()):
                raise ValueError(
                    f"{teacher.name}: features of clip {piece.id!r} are NaN or infinite"
                )
            rows = torch.from_numpy(sample_frames(len(features), share, piece, seed))
            kept.append(features.cpu()[rows].half().numpy())
    return np.concatenate(kept)


def _batches(pieces: Sequence[Piece], max_samples: float) -> list[list[Piece]]:
    """Group pieces, longest first, in padded batches of at most ``max_samples`` or one piece."""
    batches: list[list[Piece]] = []
    for piece in pieces:
        if batches and batches[-1][0].length * (len(batches[-1]) + 1) <= max_samples:
            batches[-1].append(piece)
        else:
            batches.append([piece])
    return batches


def _read(corpus: AudioCorpus, piece: Piece, sample_rate: int) -> Tensor:
    wav = corpus.read(corpus.clips[piece.clip], piece.start, piece.length)
    return torch.from_numpy(resample(np.asarray(wav, np.float32), corpus.sample_rate, sample_rate))
