"""Batches of items of similar length, by a budget of positions, for any number of processes.

An epoch's batches depend on the seed, the epoch and the lengths alone. Items are shuffled, sorted
by length inside pools of many batches (so that little is padding), cut where padded length times
rows would exceed the budget, and the batches are shuffled. Process r of W takes r, r + W, ...
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Sampler

from ...core.training.seeding import seeded_generator
from .rows import Pick

logger = logging.getLogger(__name__)


class HasLengths(Protocol):
    """What the sampler asks of a dataset."""

    def lengths(self, epoch: int) -> NDArray[np.int64]:
        """Positions of every item in this epoch, [N]; 0 or less where an item is of no use."""
        ...


class LengthBucketSampler(Sampler[list[Pick]]):
    """Yield lists of :class:`Pick`; one iteration is one epoch, the next goes on with the next.

    Give it to a ``DataLoader`` as ``batch_sampler``. Every process gets the same number of batches.
    """

    def __init__(
        self,
        dataset: HasLengths,
        *,
        budget: int,
        max_rows: int | None = None,
        seed: int = 0,
        rank: int = 0,
        world: int = 1,
        shuffle: bool = True,
        pool_batches: int = 50,
        uneven: Literal["repeat", "drop"] = "repeat",
    ) -> None:
        """Describe the batches.

        Args:
            dataset: Whose items are drawn.
            budget: Most positions of a batch, padding counted.
            max_rows: Most rows of a batch.
            seed: Of the order.
            rank: This process.
            world: Number of processes.
            shuffle: False keeps one order, by length: for evaluation.
            pool_batches: Batches, about, whose items are sorted together: more is less padding
                and less chance in what meets in a batch.
            uneven: Batches that do not fill a round of the processes are filled up by repeating
                some of the epoch, or dropped.
        """
        if budget < 1 or not 0 <= rank < world or pool_batches < 1:
            raise ValueError(
                f"budget {budget} and pool_batches {pool_batches} must be positive, and rank"
                f" {rank} one of {world}"
            )
        self._dataset, self._budget, self._max_rows = dataset, budget, max_rows
        self._seed, self._rank, self._world = seed, rank, world
        self._shuffle, self._pool_batches, self._uneven = shuffle, pool_batches, uneven
        self._epoch, self._position = 0, 0
        self._planned: tuple[int, list[NDArray[np.int64]]] | None = None

    @property
    def epoch(self) -> int:
        """The epoch that the next iteration yields, or goes on with."""
        return self._epoch

    def set_epoch(self, epoch: int) -> None:
        """Begin this epoch with the next iteration; the present one is not begun anew."""
        if epoch != self._epoch:
            self._epoch, self._position = epoch, 0

    def __len__(self) -> int:
        """Batches of this epoch on every process."""
        return len(self._plan(self._epoch)) // self._world

    def __iter__(self) -> Iterator[list[Pick]]:
        epoch, batches = self._epoch, self._plan(self._epoch)
        rounds = len(batches) // self._world
        for position in range(self._position, rounds):
            self._position = position + 1
            batch = batches[position * self._world + self._rank]
            yield [Pick(epoch, int(index)) for index in batch]
        if self._epoch == epoch:
            self._epoch, self._position = epoch + 1, 0

    def state_dict(self, consumed: int | None = None) -> dict[str, Any]:
        """Where the iteration is.

        Args:
            consumed: Batches of this epoch that were used; a loader with workers asks for some
                ahead of that, so its user has to say. None: all that were yielded.
        """
        return {
            "epoch": self._epoch,
            "batches": (self._position if consumed is None else consumed) * self._world,
            "order": self._order(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there, also on another number of processes if it divides what was done.

        Raises:
            ValueError: The batches would be others: another seed, budget or dataset.
        """
        self._epoch = int(state["epoch"])
        order = self._order()
        if state["order"] != order:
            raise ValueError(
                f"the batches are not those of the saved run: saved {state['order']}, now {order};"
                " data, seed, budget and tasks must be the same to go on exactly"
            )
        if state["batches"] % self._world:
            raise ValueError(
                f"{state['batches']} batches were done, no multiple of {self._world} processes"
            )
        self._position = int(state["batches"]) // self._world

    def _order(self) -> str:
        """What the order of batches depends on, as a name."""
        lengths = np.ascontiguousarray(self._dataset.lengths(self._epoch), np.int64)
        digest = hashlib.sha256(lengths.tobytes()).hexdigest()[:12]
        rows = self._max_rows or "any"
        kind = f"pools of {self._pool_batches}" if self._shuffle else "sorted"
        return f"seed {self._seed}, budget {self._budget}, rows {rows}, {kind}, items {digest}"

    def _plan(self, epoch: int) -> list[NDArray[np.int64]]:
        """All batches of an epoch, a multiple of the number of processes."""
        if self._planned is None or self._planned[0] != epoch:
            self._planned = (epoch, self._evened(self._batches(epoch)))
        return self._planned[1]

    def _batches(self, epoch: int) -> list[NDArray[np.int64]]:
        lengths = np.asarray(self._dataset.lengths(epoch), np.int64)
        usable = np.flatnonzero((lengths > 0) & (lengths <= self._budget))
        self._check(lengths, usable, epoch)
        generator = seeded_generator(self._seed, epoch)
        pool = len(usable)
        if self._shuffle:
            usable = generator.permutation(usable)
            pool = max(1, int(self._pool_batches * self._budget / lengths[usable].mean()))
        batches: list[NDArray[np.int64]] = []
        for first in range(0, len(usable), pool):
            part = usable[first : first + pool]
            part = part[np.argsort(lengths[part], kind="stable")]
            batches += cut(part, lengths[part], self._budget, self._max_rows)
        if self._shuffle:
            batches = [batches[place] for place in generator.permutation(len(batches))]
        return batches

    def _check(self, lengths: NDArray[np.int64], usable: NDArray[np.int64], epoch: int) -> None:
        useless, long = int((lengths <= 0).sum()), int((lengths > self._budget).sum())
        if not len(usable):
            raise ValueError(
                f"no item fits: of {len(lengths)}, {useless} have no use and {long} are longer"
                f" than the budget of {self._budget} positions"
            )
        if epoch == 0 and (useless or long):
            logger.warning(
                "left out: %d of %d items have no use, %d are longer than %d positions",
                useless, len(lengths), long, self._budget,
            )  # fmt: skip

    def _evened(self, batches: list[NDArray[np.int64]]) -> list[NDArray[np.int64]]:
        left = len(batches) % self._world
        if not left:
            return batches
        if self._uneven == "drop" and len(batches) > self._world:
            return batches[:-left]
        return batches + [batches[n % len(batches)] for n in range(self._world - left)]


def cut(
    order: NDArray[np.int64], lengths: NDArray[np.int64], budget: int, max_rows: int | None
) -> list[NDArray[np.int64]]:
    """Cut items in ascending length into batches of at most ``budget`` padded positions."""
    batches: list[NDArray[np.int64]] = []
    first = 0
    for place, length in enumerate(lengths.tolist()):
        rows = place - first + 1
        if rows > 1 and (length * rows > budget or rows > (max_rows or rows)):
            batches.append(order[first:place])
            first = place
    if first < len(order):
        batches.append(order[first:])
    return batches
