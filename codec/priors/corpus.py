"""Which pieces of which clips a teacher reads, and in what order.

Everything here is a function of the clips' ids and the seed, so a second run sees the same plan.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

HALF_DOMAINS = {"speech": ("speech",), "sound": ("sound", "music")}


class Clip(Protocol):
    """What is asked of a clip; ``almtok.core.data.CorpusClip`` answers it."""

    @property
    def id(self) -> str:
        """A name that is the same in the next run."""

    @property
    def domain(self) -> str:
        """``speech``, ``sound``, ``music``, or anything else for "not known"."""

    @property
    def num_samples(self) -> int:
        """Length at the corpus' rate."""


class Corpus(Protocol):
    """What is asked of a corpus; ``almtok.core.data.AudioCorpus`` answers it."""

    @property
    def sample_rate(self) -> int:
        """Hz of everything read."""

    @property
    def clips(self) -> Sequence[Any]:
        """All clips."""

    def read(self, clip: Any, start: int, count: int) -> Any:
        """Return samples ``start .. start + count`` as float32 [count]."""


@dataclass(frozen=True)
class Piece:
    """A part of a clip that is read at once."""

    clip: int  # number of the clip in the corpus
    id: str
    start: int  # first sample, at the corpus' rate
    length: int


@dataclass(frozen=True)
class ReadingPlan:
    """The pieces of one half, in shards: what is saved, and lost in a kill, together."""

    shards: tuple[tuple[Piece, ...], ...]
    num_samples: int  # at the corpus' rate
    num_clips: int
    too_short: int  # clips that no piece was made of


def plan_reading(
    clips: Sequence[Any],
    half: str,
    *,
    sample_rate: int,
    piece_seconds: float,
    min_seconds: float,
    shard_seconds: float,
    seed: int,
) -> ReadingPlan:
    """Cut the clips of a half into pieces, shuffle the pieces, pack them into shards.

    A clip whose domain is none of speech, sound and music serves both halves.
    """
    longest = int(piece_seconds * sample_rate)
    shortest = int(np.ceil(min_seconds * sample_rate))
    pieces: list[Piece] = []
    used = too_short = 0
    for number, clip in enumerate(clips):
        if not belongs(clip.domain, half):
            continue
        before = len(pieces)
        for start in range(0, clip.num_samples, longest):
            length = min(longest, clip.num_samples - start)
            if length >= shortest:
                pieces.append(Piece(number, clip.id, start, length))
        used += len(pieces) > before
        too_short += len(pieces) == before
    # By id first: the order in which a folder was listed must not matter.
    pieces.sort(key=lambda piece: (piece.id, piece.start))
    order = np.random.default_rng([seed, list(HALF_DOMAINS).index(half)]).permutation(len(pieces))
    shards: list[tuple[Piece, ...]] = []
    shard: list[Piece] = []
    held = 0
    for index in order:
        shard.append(pieces[index])
        held += pieces[index].length
        if held >= shard_seconds * sample_rate:
            shards.append(tuple(shard))
            shard, held = [], 0
    if shard:
        shards.append(tuple(shard))
    return ReadingPlan(tuple(shards), sum(piece.length for piece in pieces), used, too_short)


def belongs(domain: str | None, half: str) -> bool:
    """Whether a clip of this domain is read for this half."""
    known = any(domain in domains for domains in HALF_DOMAINS.values())
    return not known or domain in HALF_DOMAINS[half]


def thin_frames(frames: int, share: float, piece: Piece, seed: int) -> NDArray[np.int64]:
    """Return which of ``frames`` feature frames of a piece are kept, in order.

    The expected number is ``share * frames``; the choice depends on the piece and the seed alone.
    """
    if share >= 1:
        return np.arange(frames)
    generator = np.random.default_rng([seed, zlib.crc32(piece.id.encode()), piece.start])
    kept = min(frames, int(frames * share + generator.random()))
    return np.sort(generator.permutation(frames)[:kept])
