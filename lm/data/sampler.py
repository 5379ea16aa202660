"""Batches of items of similar length, limited by a budget of positions, for several processes.

The batches of an epoch depend on the seed, the epoch and the lengths only. Items are shuffled,
sorted by length within pools of many batches (for little padding), and cut where rows times padded
length would exceed the budget; then the batches are shuffled. Process r of W takes batches r,
r + W, ...
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
from .rows import EpochIndex

logger = logging.getLogger(__name__)


class HasLengths(Protocol):
    """A dataset that the sampler can batch.

    If it has an attribute ``first_refusal``, why its first empty item is empty, messages quote it.
    """

    def lengths(self, epoch: int) -> NDArray[np.int64]:
        """Length of every item in this epoch, [N]; items of length 0 or less are skipped."""
        ...


class LengthBucketSampler(Sampler[list[EpochIndex]]):
    """Yields lists of :class:`EpochIndex`, one epoch per iteration.

    It is the ``batch_sampler`` of a ``DataLoader``. All processes get the same number of batches.
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
        packing: bool = False,
    ) -> None:
        """Set up the sampler.

        Args:
            dataset: Dataset with lengths.
            budget: Maximum number of positions of a batch, including padding.
            max_rows: Maximum number of rows of a batch.
            seed: Seed of the order.
            rank: Index of this process.
            world: Number of processes.
            shuffle: False sorts by length, the same in every epoch; for evaluation.
            pool_batches: Approximate number of batches whose items are sorted together; more
                gives less padding, but less random batches.
            uneven: If the batches cannot be divided among the processes, repeat some batches or
                drop the rest.
            packing: Items are not padded: they are not sorted, and the budget is of their sum.

        Raises:
            ValueError: An argument is out of range.
        """
        if budget < 1 or not 0 <= rank < world or pool_batches < 1:
            raise ValueError(
                f"budget {budget} and pool_batches {pool_batches} must be positive, and rank"
                f" {rank} one of {world}"
            )
        self._dataset, self._budget, self._max_rows = dataset, budget, max_rows
        self._seed, self._rank, self._world = seed, rank, world
        self._shuffle, self._pool_batches, self._uneven = shuffle, pool_batches, uneven
        self._packing = packing
        self._epoch, self._position = 0, 0
        self._planned: tuple[int, list[NDArray[np.int64]]] | None = None

    @property
    def epoch(self) -> int:
        """The epoch of the next iteration."""
        return self._epoch

    def set_epoch(self, epoch: int) -> None:
        """Start this epoch with the next iteration; the current epoch is not restarted."""
        if epoch != self._epoch:
            self._epoch, self._position = epoch, 0

    def __len__(self) -> int:
        """Batches per process in this epoch."""
        return len(self._plan(self._epoch)) // self._world

    def __iter__(self) -> Iterator[list[EpochIndex]]:
        epoch, batches = self._epoch, self._plan(self._epoch)
        rounds = len(batches) // self._world
        for position in range(self._position, rounds):
            self._position = position + 1
            batch = batches[position * self._world + self._rank]
            yield [EpochIndex(epoch, int(index)) for index in batch]
        if self._epoch == epoch:
            self._epoch, self._position = epoch + 1, 0

    def state_dict(self, consumed: int | None = None) -> dict[str, Any]:
        """Return the position in the epoch.

        Args:
            consumed: Number of batches of this epoch that were used; by default all that were
                yielded. A loader with workers fetches batches in advance, so its user must count.
        """
        return {
            "epoch": self._epoch,
            "batches": (self._position if consumed is None else consumed) * self._world,
            "order": self._order(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resume from a position, possibly with another number of processes.

        Raises:
            ValueError: The seed, budget or dataset differ, or the number of processes does not
                divide the number of finished batches.
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
        """Everything that the order of batches depends on, as text."""
        lengths = np.ascontiguousarray(self._dataset.lengths(self._epoch), np.int64)
        digest = hashlib.sha256(lengths.tobytes()).hexdigest()[:12]
        rows = self._max_rows or "any"
        kind = f"pools of {self._pool_batches}" if self._shuffle else "sorted"
        kind = ("packed" if self._shuffle else "packed in order") if self._packing else kind
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
        if self._packing:
            return cut(usable, lengths[usable], self._budget, self._max_rows, packing=True)
        batches: list[NDArray[np.int64]] = []
        for first in range(0, len(usable), pool):
            part = usable[first : first + pool]
            part = part[np.argsort(lengths[part], kind="stable")]
            batches += cut(part, lengths[part], self._budget, self._max_rows)
        if self._shuffle:
            batches = [batches[place] for place in generator.permutation(len(batches))]
        return batches

    def _check(self, lengths: NDArray[np.int64], usable: NDArray[np.int64], epoch: int) -> None:
        empty, long = int((lengths <= 0).sum()), int((lengths > self._budget).sum())
        refusal = getattr(self._dataset, "first_refusal", "")
        reason = f"; the first empty one: {refusal}" if empty and refusal else ""
        if not len(usable):
            raise ValueError(
                f"no item fits: of {len(lengths)}, {empty} are empty and {long} are longer"
                f" than the budget of {self._budget} positions{reason}"
            )
        if epoch == 0 and (empty or long):
            logger.warning(
                "skipped: %d of %d items are empty, %d are longer than %d positions%s",
                empty, len(lengths), long, self._budget, reason,
            )  # fmt: skip

    def _evened(self, batches: list[NDArray[np.int64]]) -> list[NDArray[np.int64]]:
        left = len(batches) % self._world
        if not left:
            return batches
        if self._uneven == "drop" and len(batches) > self._world:
            return batches[:-left]
        return batches + [batches[n % len(batches)] for n in range(self._world - left)]


def cut(
    order: NDArray[np.int64],
    lengths: NDArray[np.int64],
    budget: int,
    max_rows: int | None,
    packing: bool = False,
) -> list[NDArray[np.int64]]:
    """Cut items of ascending length into batches of at most ``budget`` padded positions.

    With ``packing`` the lengths are in any order, and the budget is of their sum.
    """
    batches: list[NDArray[np.int64]] = []
    first = total = 0
    for place, length in enumerate(lengths.tolist()):
        rows = place - first + 1
        total += length
        size = total if packing else length * rows
        if rows > 1 and (size > budget or rows > (max_rows or rows)):
            batches.append(order[first:place])
            first, total = place, length
    if first < len(order):
        batches.append(order[first:])
    return batches
