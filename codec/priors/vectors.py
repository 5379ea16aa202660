"""Teacher features on disk: one file per shard, read back as one long list of vectors.

Letters: ``N`` vectors, ``P`` width, ``n`` vectors asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from ...core.audio import resample
from .corpus import Corpus, Piece, ReadingPlan, thin_frames
from .files import write_aside
from .teacher import Teacher


@dataclass(frozen=True)
class ShardVectors:
    """The rows of several memory-mapped arrays, one after the other."""

    shards: tuple[NDArray[np.float16], ...]  # each [N_i, P]

    @classmethod
    def open(cls, paths: Sequence[Path]) -> ShardVectors:
        """Map the files; nothing is read yet."""
        return cls(tuple(np.load(path, mmap_mode="r", allow_pickle=False) for path in paths))

    @property
    def shape(self) -> tuple[int, int]:
        """(N, P)."""
        return sum(len(shard) for shard in self.shards), self.shards[0].shape[1]

    def gather(self, rows: Tensor) -> Tensor:
        """Return the rows [n], which must ascend, as float32 [n, P]."""
        wanted = rows.numpy()
        ends = np.cumsum([len(shard) for shard in self.shards])
        cuts = np.searchsorted(wanted, ends)
        parts, first, before = [], 0, 0
        for shard, cut, end in zip(self.shards, cuts, ends, strict=True):
            parts.append(shard[wanted[first:cut] - before])
            first, before = cut, end
        return torch.from_numpy(np.concatenate(parts).astype(np.float32))


def extract(
    corpus: Corpus,
    plan: ReadingPlan,
    teacher: Teacher,
    folder: Path,
    *,
    share: float,
    batch_seconds: float,
    seed: int,
    label: str,
) -> list[Path]:
    """Write the features of every shard that is not there yet; return the files in order.

    Args:
        corpus: where the audio is.
        plan: what to read.
        teacher: what reads it.
        folder: where the shards go.
        share: share of the feature frames to keep.
        batch_seconds: seconds of audio given to the teacher at once.
        seed: chooses the kept frames.
        label: what the progress bar says.
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
                write_aside(paths[number], partial(_save, vectors))
            bar.update(round(sum(piece.length for piece in shard) / corpus.sample_rate))
    return paths


def _save(vectors: NDArray[np.float16], path: Path) -> None:
    with path.open("wb") as file:  # by name, np.save would add a suffix
        np.save(file, vectors, allow_pickle=False)


def _features(
    corpus: Corpus,
    pieces: Sequence[Piece],
    teacher: Teacher,
    share: float,
    batch_seconds: float,
    seed: int,
) -> NDArray[np.float16]:
    """Return the kept features [n, P] of one shard."""
    # Equal lengths side by side, so that a batch is padded little.
    pieces = sorted(pieces, key=lambda piece: (-piece.length, piece.id, piece.start))
    kept = [np.zeros((0, teacher.dim), np.float16)]
    for batch in _batches(pieces, batch_seconds * corpus.sample_rate):
        wavs = [_read(corpus, piece, teacher.sample_rate) for piece in batch]
        for piece, features in zip(batch, teacher.features_batch(wavs), strict=True):
            if not bool(torch.isfinite(features).all()):
                raise ValueError(f"{teacher.name} gave NaN or infinity for clip {piece.id!r}")
            rows = torch.from_numpy(thin_frames(len(features), share, piece, seed))
            kept.append(features.cpu()[rows].half().numpy())
    return np.concatenate(kept)


def _batches(pieces: Sequence[Piece], most_samples: float) -> list[list[Piece]]:
    """Group pieces, longest first, so that a padded batch holds ``most_samples`` or one piece."""
    batches: list[list[Piece]] = []
    for piece in pieces:
        if batches and batches[-1][0].length * (len(batches[-1]) + 1) <= most_samples:
            batches[-1].append(piece)
        else:
            batches.append([piece])
    return batches


def _read(corpus: Corpus, piece: Piece, wanted_rate: int) -> Tensor:
    wav = corpus.read(corpus.clips[piece.clip], piece.start, piece.length)
    return torch.from_numpy(resample(np.asarray(wav, np.float32), corpus.sample_rate, wanted_rate))
