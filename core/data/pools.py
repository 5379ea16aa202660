"""The clips of one domain as a numbered list of segments per epoch.

A long clip has as many segments as fit into its length, each drawn from its own part of the clip.
Short clips of a domain lie one after the other, with gaps, on a tape that is laid anew each epoch
and cut into segments: every clip is heard about once per epoch, every segment is full.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .config import DataConfig
from .corpus import Clip

Numbers = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Piece:
    """Samples ``start .. start + count`` of a clip, placed at ``offset`` of a segment."""

    clip: int  # index in corpus.clips
    start: int
    count: int
    offset: int


def random(seed: int, *key: int) -> np.random.Generator:
    """A generator that depends on the numbers given and on nothing else."""
    return np.random.default_rng(np.random.SeedSequence((seed, *key)))


class Pool:
    """Segments of one domain. ``number`` tells the pools of a dataset apart in the seeds."""

    def __init__(
        self,
        clips: Sequence[Clip],
        places: Sequence[int],
        config: DataConfig,
        seed: int,
        number: int,
    ) -> None:
        self._seed, self._number = seed, number
        self._samples = config.drawn_samples
        self._join = config.short_clips == "join"
        places_all = np.asarray(places, np.int64)
        lengths = np.asarray([clips[place].num_samples for place in places], np.int64)
        long = lengths >= self._samples
        self._long, self._long_lengths = places_all[long], lengths[long]
        self._short, self._short_lengths = places_all[~long], lengths[~long]
        self._parts = np.maximum(1, np.rint(self._long_lengths / self._samples)).astype(np.int64)
        self._ends = np.cumsum(self._parts)  # segments of the long clips up to and with each
        low, high = (round(gap * config.sample_rate) for gap in config.gap_seconds)
        self._gaps = random(seed, number, 0).integers(low, high + 1, len(self._short))
        self._num_long = int(self._parts.sum())
        self.size = self._num_long + self._count_short()
        self._orders: dict[int, Numbers] = {}
        self._tapes: dict[int, tuple[Numbers, Numbers, int]] = {}

    def _count_short(self) -> int:
        """Segments of the short clips in one epoch."""
        if not len(self._short) or not self._join:
            return len(self._short)
        tape = int(self._short_lengths.sum() + self._gaps.sum())
        return max(1, round(tape / self._samples))

    def pieces(self, turn: int, rng: np.random.Generator) -> list[Piece]:
        """What the segment holds that is drawn as the ``turn``-th from this pool.

        Args:
            turn: Counts up without end; ``turn // size`` is the epoch.
            rng: The segment's own generator.
        """
        epoch, place = divmod(turn, self.size)
        segment = int(self._order(epoch)[place])
        if segment < self._num_long:
            return [self._crop(segment, rng)]
        segment -= self._num_long
        if self._join:
            return self._cut_tape(epoch, segment)
        count = int(self._short_lengths[segment])
        offset = int(rng.integers(0, self._samples - count + 1))
        return [Piece(int(self._short[segment]), 0, count, offset)]

    def _order(self, epoch: int) -> Numbers:
        if epoch not in self._orders:
            _forget_oldest(self._orders)
            self._orders[epoch] = random(self._seed, self._number, 1, epoch).permutation(self.size)
        return self._orders[epoch]

    def _crop(self, segment: int, rng: np.random.Generator) -> Piece:
        """A random crop in the segment's own part of its clip: an epoch hears all of it."""
        clip = int(np.searchsorted(self._ends, segment, side="right"))
        parts = int(self._parts[clip])
        part = segment - int(self._ends[clip]) + parts
        spare = int(self._long_lengths[clip]) - self._samples
        start = min(spare, int((spare + 1) * (part + rng.random()) / parts))
        return Piece(int(self._long[clip]), start, self._samples, 0)

    def _tape(self, epoch: int) -> tuple[Numbers, Numbers, int]:
        """Order of the short clips, the tape position after each with its gap, the first cut."""
        if epoch not in self._tapes:
            _forget_oldest(self._tapes)
            rng = random(self._seed, self._number, 2, epoch)
            order = rng.permutation(len(self._short))
            ends = np.cumsum(self._short_lengths[order] + self._gaps[order])
            self._tapes[epoch] = order, ends, int(rng.integers(0, ends[-1]))
        return self._tapes[epoch]

    def _cut_tape(self, epoch: int, segment: int) -> list[Piece]:
        order, ends, shift = self._tape(epoch)
        length = int(ends[-1])
        position, filled = (shift + segment * self._samples) % length, 0
        slot = int(np.searchsorted(ends, position, side="right"))
        pieces = []
        while filled < self._samples:
            short = int(order[slot])
            count = int(self._short_lengths[short])
            begin = int(ends[slot]) - count - int(self._gaps[short])
            start = position - begin  # beyond count: the cut begins in the gap
            take = min(count - start, self._samples - filled)
            if take > 0:
                pieces.append(Piece(int(self._short[short]), start, take, filled))
            filled += int(ends[slot]) - position
            slot = (slot + 1) % len(order)
            position = int(ends[slot - 1]) if slot else 0
        return pieces


def _forget_oldest(cache: dict[int, Any]) -> None:
    """Keep the epoch before as well: batches of two epochs mix at the border."""
    while len(cache) > 1:
        cache.pop(next(iter(cache)))
