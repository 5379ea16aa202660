"""Token shards as an endless stream of batches, for corpora whose labels do not fit in memory.

Each process reads its own shards, a few at a time (a window). The samples of a window are shuffled,
sorted by length and cut into batches by a budget of positions, as in ``sampler.py``. The batches
of a window depend on the seed and its position only, so a resumed stream reads one window and skips
the batches that were used.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from ...core.training.seeding import seeded_generator
from .dataset import EmptySelection, TokenDataset
from .labels import Folders, read_infos, shard_paths
from .rows import TokenRow
from .sampler import cut

T = TypeVar("T")
U = TypeVar("U")


@dataclass(frozen=True, slots=True)
class StreamPosition:
    """Position in a stream: batches ``0 .. batch - 1`` of this window were used."""

    epoch: int = 0
    window: int = 0
    batch: int = 0


@dataclass(frozen=True, slots=True)
class StreamBatch(Generic[T]):
    """The samples of a batch, and the position after it."""

    samples: T
    worker: int
    after: StreamPosition


class TokenStream(IterableDataset[StreamBatch[Any]]):
    """Batches of samples from shards; iterate it through :class:`StreamLoader`."""

    def __init__(
        self,
        folders: Folders,
        make: Callable[[TokenRow], Iterable[Any]],
        measure: Callable[[Any], int],
        *,
        budget: int,
        max_rows: int | None = None,
        window_shards: int = 4,
        seed: int = 0,
        rank: int = 0,
        world: int = 1,
        epochs: int | None = None,
        fingerprint: str | None = None,
        packing: bool = False,
        **filters: Any,
    ) -> None:
        """Set up the stream; only the footers of the shards are read.

        Args:
            folders: Folders of shards.
            make: Returns the samples of a row, any number of them. Their random choices must
                depend on ``row.draw`` only. A ValueError skips the row.
            measure: Length of a sample in positions.
            budget: Maximum number of positions of a batch, including padding; longer samples are
                skipped.
            max_rows: Maximum number of rows of a batch.
            window_shards: Number of shards that are shuffled together.
            seed: Seed of the order.
            rank: Index of this process.
            world: Number of processes; each reads shards of its own.
            epochs: Passes over the shards; None never ends. Processes have different numbers of
                batches per epoch, so distributed training must count steps, not epochs.
            fingerprint: Of the expected codec; None accepts any single codec.
            packing: As in :class:`LengthBucketSampler`.
            **filters: As in :class:`TokenDataset`: split, domain, language, needs_text, ...

        Raises:
            ValueError: No shards, fewer shards than processes, or shards of several codecs.
        """
        self._paths = shard_paths(folders)
        read_infos(self._paths, fingerprint)
        if len(self._paths) < world:
            raise ValueError(
                f"{len(self._paths)} shards cannot be distributed over {world} processes: tokenize"
                " with fewer --rows-per-shard"
            )
        self._make, self._measure, self._filters = make, measure, filters
        self._budget, self._max_rows, self._window_shards = budget, max_rows, window_shards
        self._seed, self._rank, self._world, self._epochs = seed, rank, world, epochs
        self._packing = packing
        self.start: dict[int, StreamPosition] = {}  # by worker
        self.turn = 0  # index of the worker that yields first

    def __iter__(self) -> Iterator[StreamBatch[list[Any]]]:
        info = get_worker_info()
        workers = 1 if info is None else info.num_workers
        # A loader starts with worker 0, so worker ids are rotated to resume at the right one.
        worker = 0 if info is None else (info.id + self.turn) % workers
        at = self.start.get(worker, StreamPosition())
        while self._epochs is None or at.epoch < self._epochs:
            windows = self._windows(at.epoch, worker, workers)
            empty = at.window == at.batch == 0
            for window in range(at.window, len(windows)):
                batches = self._batches(windows[window], at.epoch, window)
                for number in range(at.batch, len(batches)):
                    empty = False
                    at = StreamPosition(at.epoch, window, number + 1)
                    yield StreamBatch(batches[number], worker, at)
                at = StreamPosition(at.epoch, window + 1, 0)
            if empty and self._epochs is None:
                raise ValueError(
                    f"process {self._rank}, worker {worker}: {len(windows)} windows of shards gave"
                    " no samples; use fewer workers or other filters"
                )
            at = StreamPosition(at.epoch + 1, 0, 0)

    def state(self) -> dict[str, Any]:
        """Everything that the order of batches depends on."""
        return {
            "seed": self._seed,
            "world": self._world,
            "rank": self._rank,
            "budget": self._budget,
            "max_rows": self._max_rows,
            "window_shards": self._window_shards,
            "shards": len(self._paths),
        }

    def _windows(self, epoch: int, worker: int, workers: int) -> list[list[int]]:
        order = seeded_generator(self._seed, 2, epoch).permutation(len(self._paths)).tolist()
        own = order[self._rank :: self._world]
        size = min(self._window_shards, max(1, len(own) // workers))
        return [own[n : n + size] for n in range(0, len(own), size)][worker::workers]

    def _batches(self, shards: list[int], epoch: int, window: int) -> list[list[Any]]:
        samples = [sample for shard in shards for sample in self._samples(shard, epoch)]
        lengths = np.asarray([self._measure(sample) for sample in samples], np.int64)
        usable = np.flatnonzero((lengths > 0) & (lengths <= self._budget))
        generator = seeded_generator(self._seed, 4, epoch, *shards)
        usable = generator.permutation(usable)
        if not self._packing:
            usable = usable[np.argsort(lengths[usable], kind="stable")]
        batches = cut(usable, lengths[usable], self._budget, self._max_rows, self._packing)
        order = generator.permutation(len(batches))
        return [[samples[n] for n in batches[place]] for place in order]

    def _samples(self, shard: int, epoch: int) -> Iterator[Any]:
        try:
            rows = TokenDataset(self._paths[shard], **self._filters)
        except EmptySelection:
            return
        numbers = seeded_generator(self._seed, 3, epoch, shard).integers(1 << 62, size=len(rows))
        for place, draw in enumerate(numbers.tolist()):
            row = dataclasses.replace(rows[place], draw=draw)
            try:
                yield from self._make(row)
            except ValueError:  # such as an empty text
                continue


class StreamLoader(Generic[U]):
    """Iterates a stream, optionally with worker processes, and keeps its position.

    The position counts the batches that were yielded; those that workers have prepared beyond it
    are prepared again after a resume.
    """

    def __init__(
        self,
        stream: TokenStream,
        collate: Callable[[list[Any]], U],
        *,
        num_workers: int = 0,
    ) -> None:
        self._stream, self._collate, self._workers = stream, collate, num_workers
        self._positions: dict[int, StreamPosition] = {}
        self._turn = 0

    def __iter__(self) -> Iterator[U]:
        self._stream.start, self._stream.turn = dict(self._positions), self._turn
        loader: Any = DataLoader(
            self._stream,
            batch_size=None,  # collate_fn is called with single items
            collate_fn=functools.partial(_collate_batch, self._collate),
            num_workers=self._workers,
        )
        for batch in loader:
            self._positions[batch.worker] = batch.after
            self._turn = (batch.worker + 1) % max(1, self._workers)
            yield batch.samples

    def state_dict(self) -> dict[str, Any]:
        """Position of every worker, and the worker that is next, as plain values."""
        positions = {str(w): dataclasses.astuple(at) for w, at in self._positions.items()}
        return {
            **self._stream.state(),
            "workers": self._workers,
            "turn": self._turn,
            "positions": positions,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resume from a saved position.

        Raises:
            ValueError: The stream or the number of workers differs.
        """
        now = {**self._stream.state(), "workers": self._workers}
        other = {name: state[name] for name in now if state[name] != now[name]}
        if other:
            raise ValueError(
                f"the saved stream had {other}, this one has"
                f" { {name: now[name] for name in other} }: it cannot be resumed exactly"
            )
        self._turn = int(state["turn"])
        self._positions = {int(w): StreamPosition(*at) for w, at in state["positions"].items()}


def _collate_batch(
    collate: Callable[[list[Any]], U], batch: StreamBatch[list[Any]]
) -> StreamBatch[U]:
    """Collate in the worker, so that workers send tensors instead of samples."""
    return StreamBatch(collate(batch.samples), batch.worker, batch.after)
