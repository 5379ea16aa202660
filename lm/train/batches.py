"""Endless micro-batches; each is a function of the seed and its number alone.

A step takes the next `accumulate` micro-batches, whichever process computes them: neither the
number of processes nor a restart changes the data of a step.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ...core.training.interrupt import ignore_signals
from ...core.training.seeding import seeded_generator
from ..data.rows import EpochIndex
from ..data.sampler import LengthBucketSampler
from ..sequences import Example

Batch = dict[str, Tensor]


class Batches(Protocol):
    """Endless micro-batches of one process, with a position that can be saved."""

    def __iter__(self) -> Iterator[Batch]:
        """Yield micro-batches without end."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Return the position as JSON values."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a position; ValueError if the data or settings differ."""
        ...


class ExampleList(Dataset[Any]):
    """A list of examples as a dataset of samples with lengths."""

    def __init__(
        self,
        examples: Sequence[Example],
        measure: Callable[[Example], int],
        *,
        condition_dropout: float = 0.0,
        seed: int = 0,
    ) -> None:
        """Wrap the list.

        Args:
            examples: Training examples.
            measure: Returns the positions of an example, `SequenceLength(config)`.
            condition_dropout: Share of examples without condition.
            seed: Seed that selects these examples in each epoch.
        """
        self._examples, self._seed, self._dropout = list(examples), seed, condition_dropout
        self._lengths = np.asarray([measure(example) for example in self._examples], np.int64)

    def __len__(self) -> int:
        return len(self._examples)

    def __getitem__(self, pick: int | EpochIndex) -> Any:
        from ..data.mixing import Sample

        pick = pick if isinstance(pick, EpochIndex) else EpochIndex(0, int(pick))
        example = self._examples[pick.index]
        generator = seeded_generator(self._seed, 1, pick.epoch, pick.index)
        drop = bool(generator.random() < self._dropout)
        return Sample(example, drop, example.task, int(generator.integers(1 << 62)))

    def lengths(self, epoch: int = 0) -> NDArray[np.int64]:
        """Return the positions of every example, `[N]`."""
        return self._lengths


class BucketBatches:
    """Endless micro-batches of rows of similar length."""

    def __init__(
        self,
        dataset: Any,
        collate: Callable[[list[Any]], Batch],
        *,
        budget: int,
        max_rows: int | None = None,
        seed: int = 0,
        rank: int = 0,
        world: int = 1,
        num_workers: int = 0,
        pin_memory: bool = False,
        packing: bool = False,
    ) -> None:
        """Set the batches up.

        Args:
            dataset: Has `lengths(epoch)` and items by :class:`EpochIndex`.
            collate: Turns samples into tensors.
            budget: Maximum positions of a micro-batch, including padding.
            max_rows: Maximum rows of a micro-batch.
            seed: Seed of the order.
            rank: This process; it takes micro-batches rank, rank + world, ...
            world: Number of processes.
            num_workers: Data loading processes.
            pin_memory: Whether to pin memory, for a GPU.
            packing: `collate` does not pad.
        """
        self._dataset, self._collate = dataset, collate
        self._rank, self._world = rank, world
        self._workers, self._pin = num_workers, pin_memory
        # One process's view of the epoch; it is dealt out below, so that no epoch is evened up.
        # The second one counts: loaders run ahead of what is taken, and the first with them.
        self._sampler, self._counter = (
            LengthBucketSampler(
                dataset, budget=budget, max_rows=max_rows, seed=seed, packing=packing
            )
            for _ in range(2)
        )
        self._taken = 0  # by this process
        self._epoch, self._before = 0, 0  # batches of that epoch that were done before these

    def __iter__(self) -> Iterator[Batch]:
        self._taken = 0
        loader: Any = DataLoader(
            self._dataset,
            batch_sampler=_Endless(self),  # type: ignore[arg-type]
            collate_fn=self._collate,
            num_workers=self._workers,
            pin_memory=self._pin,
            worker_init_fn=background_worker,
        )
        for batch in loader:
            self._taken += 1
            yield batch

    def state_dict(self) -> dict[str, Any]:
        """Return the epoch, and the batches of it that all processes have taken together."""
        taken = self._taken * self._world
        self._counter.set_epoch(self._epoch)
        while self._before + taken >= (size := len(self._counter)):
            self._epoch, self._before = self._epoch + 1, self._before - size
            self._counter.set_epoch(self._epoch)
        return {**self._counter.state_dict(0), "batches": self._before + taken}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a position, on any number of processes.

        Raises:
            ValueError: Seed, budget or data differ.
        """
        self._sampler.load_state_dict(state)
        self._taken, self._epoch, self._before = 0, int(state["epoch"]), int(state["batches"])

    def picks(self) -> Iterator[list[EpochIndex]]:
        """Yield this process's batches of picks; data loaders read ahead."""
        number = 0
        while True:
            for batch in self._sampler:
                if number % self._world == self._rank:
                    yield batch
                number += 1


class _Endless:
    """A batch sampler without length or end."""

    def __init__(self, batches: BucketBatches) -> None:
        self._batches = batches

    def __iter__(self) -> Iterator[list[EpochIndex]]:
        return self._batches.picks()


def background_worker(worker: int) -> None:
    """Leave signals to the parent process, and processor time too.

    On a machine of few cores a worker that takes turns with the model's threads delays every step.
    """
    ignore_signals(worker)
    if hasattr(os, "nice"):
        os.nice(10)
