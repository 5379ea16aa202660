"""Shards of tokens as an endless stream of batches: bounded memory, no list of all rows.

For corpora whose labels alone are too many to hold. Each process reads its own shards, a few at a
time (a window); the samples of a window are shuffled, sorted by length and cut into batches by a
budget of positions, as in ``sampler.py``. A window's batches depend on the seed and on its place
alone, so a stream goes on exactly where it was: it reads one window and skips what was done.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from ...core.training.seeding import seeded_generator
from .dataset import EmptySelection, Folders, TokenDataset, read_infos, shard_paths
from .rows import TokenRow
from .sampler import cut

T = TypeVar("T")
U = TypeVar("U")


@dataclass(frozen=True, slots=True)
class Position:
    """Where a stream is: batches ``0 .. batch - 1`` of this window are done."""

    epoch: int = 0
    window: int = 0
    batch: int = 0


@dataclass(frozen=True, slots=True)
class StreamBatch(Generic[T]):
    """Samples, and the position behind them."""

    samples: T
    worker: int
    after: Position


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
        **filters: Any,
    ) -> None:
        """Describe the stream; only the footers of the shards are read.

        Args:
            folders: Folders of shards.
            make: The samples of a row: several tasks make several, a row of no use makes none. All
                that is random in them must come from ``row.draw``.
            measure: Positions of a sample.
            budget: Most positions of a batch, padding counted; longer samples are left out.
            max_rows: Most rows of a batch.
            window_shards: Shards that are mixed with each other.
            seed: Of the order.
            rank: This process.
            world: Number of processes; each has shards of its own.
            epochs: Passes through the shards; None never ends. Processes have different numbers of
                batches in an epoch, so training together counts steps, not epochs.
            fingerprint: Of the codec that is expected.
            **filters: As in :class:`TokenDataset`: split, domain, language, needs_text, ...

        Raises:
            ValueError: No shards, fewer than processes, or shards of several codecs.
        """
        self._paths = shard_paths(folders)
        read_infos(self._paths, fingerprint)
        if len(self._paths) < world:
            raise ValueError(
                f"{len(self._paths)} shards cannot be dealt out to {world} processes: tokenize"
                " with fewer --rows-per-shard"
            )
        self._make, self._measure, self._filters = make, measure, filters
        self._budget, self._max_rows, self._window_shards = budget, max_rows, window_shards
        self._seed, self._rank, self._world, self._epochs = seed, rank, world, epochs
        self.start: dict[int, Position] = {}  # by worker
        self.turn = 0  # the worker that goes first

    def __iter__(self) -> Iterator[StreamBatch[list[Any]]]:
        info = get_worker_info()
        workers = 1 if info is None else info.num_workers
        # A loader begins with its worker 0, which therefore plays the one whose turn it is.
        worker = 0 if info is None else (info.id + self.turn) % workers
        at = self.start.get(worker, Position())
        while self._epochs is None or at.epoch < self._epochs:
            windows = self._windows(at.epoch, worker, workers)
            fruitless = at.window == at.batch == 0
            for window in range(at.window, len(windows)):
                batches = self._batches(windows[window], at.epoch, window)
                for number in range(at.batch, len(batches)):
                    fruitless = False
                    at = Position(at.epoch, window, number + 1)
                    yield StreamBatch(batches[number], worker, at)
                at = Position(at.epoch, window + 1, 0)
            if fruitless and self._epochs is None:
                raise ValueError(
                    f"process {self._rank}, worker {worker}: {len(windows)} windows of shards gave"
                    " no sample at all; fewer workers or other filters may help"
                )
            at = Position(at.epoch + 1, 0, 0)

    def state(self) -> dict[str, Any]:
        """What the order of batches depends on; positions mean nothing under another."""
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
        mine = order[self._rank :: self._world]
        size = min(self._window_shards, max(1, len(mine) // workers))  # work for every worker
        return [mine[n : n + size] for n in range(0, len(mine), size)][worker::workers]

    def _batches(self, shards: list[int], epoch: int, window: int) -> list[list[Any]]:
        samples = [sample for shard in shards for sample in self._samples(shard, epoch)]
        lengths = np.asarray([self._measure(sample) for sample in samples], np.int64)
        usable = np.flatnonzero((lengths > 0) & (lengths <= self._budget))
        generator = seeded_generator(self._seed, 4, epoch, *shards)
        usable = generator.permutation(usable)
        usable = usable[np.argsort(lengths[usable], kind="stable")]
        batches = cut(usable, lengths[usable], self._budget, self._max_rows)
        order = generator.permutation(len(batches))
        return [[samples[n] for n in batches[place]] for place in order]

    def _samples(self, shard: int, epoch: int) -> Iterator[Any]:
        try:
            rows = TokenDataset(self._paths[shard], **self._filters)
        except EmptySelection:
            return  # nothing in this shard fits
        numbers = seeded_generator(self._seed, 3, epoch, shard).integers(1 << 62, size=len(rows))
        for place, draw in enumerate(numbers.tolist()):
            row = dataclasses.replace(rows[place], draw=draw)
            try:
                yield from self._make(row)
            except ValueError:  # an empty text, say
                continue


class StreamLoader(Generic[U]):
    """Iterates a stream, with worker processes if wanted; its state is where its user is.

    Batches that workers have made ahead are made again after a resume, so nothing is lost.
    """

    def __init__(
        self,
        stream: TokenStream,
        collate: Callable[[list[Any]], U],
        *,
        num_workers: int = 0,
    ) -> None:
        self._stream, self._collate, self._workers = stream, collate, num_workers
        self._positions: dict[int, Position] = {}
        self._turn = 0

    def __iter__(self) -> Iterator[U]:
        self._stream.start, self._stream.turn = dict(self._positions), self._turn
        each: Any = _Each(self._collate)  # without a batch size it is called with single items
        loader: Any = DataLoader(
            self._stream,
            batch_size=None,
            collate_fn=each,
            num_workers=self._workers,
        )
        for batch in loader:
            self._positions[batch.worker] = batch.after
            self._turn = (batch.worker + 1) % max(1, self._workers)
            yield batch.samples

    def state_dict(self) -> dict[str, Any]:
        """Plain values: where every worker is, and whose turn it is."""
        positions = {str(w): dataclasses.astuple(at) for w, at in self._positions.items()}
        return {
            **self._stream.state(),
            "workers": self._workers,
            "turn": self._turn,
            "positions": positions,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there.

        Raises:
            ValueError: The stream or the number of workers is another.
        """
        now = {**self._stream.state(), "workers": self._workers}
        other = {name: state[name] for name in now if state[name] != now[name]}
        if other:
            raise ValueError(
                f"the saved stream had {other}, this one has"
                f" { {name: now[name] for name in other} }: it cannot go on exactly"
            )
        self._turn = int(state["turn"])
        self._positions = {int(w): Position(*at) for w, at in state["positions"].items()}


@dataclass(frozen=True)
class _Each(Generic[U]):
    """Collates inside the worker, so that workers send tensors and not samples."""

    collate: Callable[[list[Any]], U]

    def __call__(self, batch: StreamBatch[list[Any]]) -> StreamBatch[U]:
        return StreamBatch(self.collate(batch.samples), batch.worker, batch.after)
