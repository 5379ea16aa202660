"""Micro-batches for ever: which ones is a function of the seed and their number alone.

Micro-batch `n` of the run is the n-th batch of endless epochs; a step takes the next `accumulate`
of them, whichever process computes them. So neither the number of processes nor a restart changes
what a step learns from.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ...core.data.pools import random
from ...core.training.loop import leave_signals_to_the_parent
from ..data.rows import Pick
from ..data.sampler import LengthBucketSampler
from ..sequences import Example

Batch = dict[str, Tensor]


class Batches(Protocol):
    """Endless micro-batches of one process, and where they are."""

    def __iter__(self) -> Iterator[Batch]:
        """Micro-batches, never ending."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Plain values: what has been taken."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there; ValueError if the batches would be others."""
        ...


class ExampleList(Dataset[Any]):
    """A plain list of examples, as a dataset of samples with lengths."""

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
            examples: what to learn.
            measure: positions of an example, `SequenceLength(config)`.
            condition_dropout: share that is trained without condition.
            seed: of which ones, in each epoch.
        """
        self._examples, self._seed, self._dropout = list(examples), seed, condition_dropout
        self._lengths = np.asarray([measure(example) for example in self._examples], np.int64)

    def __len__(self) -> int:
        return len(self._examples)

    def __getitem__(self, pick: int | Pick) -> Any:
        from ..data.mixing import Sample

        pick = pick if isinstance(pick, Pick) else Pick(0, int(pick))
        example = self._examples[pick.index]
        generator = random(self._seed, 1, pick.epoch, pick.index)
        drop = bool(generator.random() < self._dropout)
        return Sample(example, drop, example.task, int(generator.integers(1 << 62)))

    def lengths(self, epoch: int = 0) -> NDArray[np.int64]:
        """Positions of every example, [N]."""
        return self._lengths


class BucketBatches:
    """Micro-batches of similar lengths from a dataset, for ever."""

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
    ) -> None:
        """Describe the batches.

        Args:
            dataset: has `lengths(epoch)` and items by :class:`Pick`.
            collate: samples to tensors.
            budget: most positions of a micro-batch, padding counted.
            max_rows: most rows of a micro-batch.
            seed: of the order.
            rank: this process; it takes micro-batches rank, rank + world, ...
            world: number of processes.
            num_workers: processes that load.
            pin_memory: for a GPU.
        """
        self._dataset, self._collate = dataset, collate
        self._rank, self._world = rank, world
        self._workers, self._pin = num_workers, pin_memory
        # One process's view of the epoch; it is dealt out below, so that no epoch is evened up.
        # The second one counts: loaders run ahead of what is taken, and the first with them.
        self._sampler, self._counter = (
            LengthBucketSampler(dataset, budget=budget, max_rows=max_rows, seed=seed)
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
        """Epoch, and batches of it that all processes have taken together."""
        taken = self._taken * self._world
        self._counter.set_epoch(self._epoch)
        while self._before + taken >= (size := len(self._counter)):
            self._epoch, self._before = self._epoch + 1, self._before - size
            self._counter.set_epoch(self._epoch)
        return {**self._counter.state_dict(0), "batches": self._before + taken}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there, on any number of processes.

        Raises:
            ValueError: the batches would be others: another seed, budget or data.
        """
        self._sampler.load_state_dict(state)
        self._taken, self._epoch, self._before = 0, int(state["epoch"]), int(state["batches"])

    def picks(self) -> Iterator[list[Pick]]:
        """This process's batches of picks; loaders run ahead of what is taken."""
        number = 0
        while True:
            for batch in self._sampler:
                if number % self._world == self._rank:
                    yield batch
                number += 1


class _Endless:
    """A batch sampler without length: the loader asks for more for ever."""

    def __init__(self, batches: BucketBatches) -> None:
        self._batches = batches

    def __iter__(self) -> Iterator[list[Pick]]:
        return self._batches.picks()


def background_worker(worker: int) -> None:
    """Leave signals to the parent process, and processor time too.

    On a machine of few cores a worker that takes turns with the model's threads delays every step.
    """
    leave_signals_to_the_parent(worker)
    if hasattr(os, "nice"):
        os.nice(10)
