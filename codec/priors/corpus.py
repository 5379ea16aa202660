"""Order in which a teacher reads the pieces of clips.

It depends on the ids of the clips and the seed only, so a resumed run has the same plan.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from ...core.data import CorpusClip

HALF_DOMAINS = {"speech": ("speech",), "sound": ("sound", "music")}


@dataclass(frozen=True)
class Piece:
    """A part of a clip."""

    clip: int  # index in the clips of the corpus
    id: str  # of the clip
    start: int  # first sample, at the sample rate of the corpus
    length: int  # in samples


@dataclass(frozen=True)
class ReadingPlan:
    """The pieces of one half in shards; the features of a shard are saved together."""

    shards: tuple[tuple[Piece, ...], ...]
    num_samples: int  # at the sample rate of the corpus
    num_clips: int
    too_short: int  # clips without a piece


def plan_reading(
    clips: Sequence[CorpusClip],
    half: str,
    *,
    sample_rate: int,
    piece_seconds: float,
    min_seconds: float,
    shard_seconds: float,
    seed: int,
) -> ReadingPlan:
    """Split the clips of a half into pieces, shuffle them, and group them in shards.

    Clips of other domains than speech, sound and music are used for both halves.
    """
    longest = int(piece_seconds * sample_rate)
    shortest = int(np.ceil(min_seconds * sample_rate))
    pieces: list[Piece] = []
    num_clips = too_short = 0
    for index, clip in enumerate(clips):
        if not in_half(clip.domain, half):
            continue
        before = len(pieces)
        for start in range(0, clip.num_samples, longest):
            length = min(longest, clip.num_samples - start)
            if length >= shortest:
                pieces.append(Piece(index, clip.id, start, length))
        num_clips += len(pieces) > before
        too_short += len(pieces) == before
    # Sorted first, so that the order of the clips has no influence.
    pieces.sort(key=lambda piece: (piece.id, piece.start))
    order = np.random.default_rng([seed, list(HALF_DOMAINS).index(half)]).permutation(len(pieces))
    shards: list[tuple[Piece, ...]] = []
    shard: list[Piece] = []
    samples = 0
    for index in order:
        shard.append(pieces[index])
        samples += pieces[index].length
        if samples >= shard_seconds * sample_rate:
            shards.append(tuple(shard))
            shard, samples = [], 0
    if shard:
        shards.append(tuple(shard))
    total = sum(piece.length for piece in pieces)
    return ReadingPlan(tuple(shards), total, num_clips, too_short)


def in_half(domain: str | None, half: str) -> bool:
    """Whether clips of a domain are used for a half."""
    listed = any(domain in domains for domains in HALF_DOMAINS.values())
    return not listed or domain in HALF_DOMAINS[half]


def sample_frames(frames: int, share: float, piece: Piece, seed: int) -> NDArray[np.int64]:
    """Draw the indices of the feature frames of a piece that are kept, in ascending order.

    Their expected number is ``share * frames``; they depend on the piece and the seed only.
    """
    if share >= 1:
        return np.arange(frames)
    generator = np.random.default_rng([seed, zlib.crc32(piece.id.encode()), piece.start])
    kept = min(frames, int(frames * share + generator.random()))
    return np.sort(generator.permutation(frames)[:kept])
