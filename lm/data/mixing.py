"""Several corpora and tasks as one list per epoch, in chosen shares.

The share of a source is ``weight * rows ** (1 / temperature)``, normalised: temperature 1 is in
proportion to the rows, more lets small sources count more, infinity leaves the weights alone.
Over the epochs every row of a source is seen equally often. All that is random about an item
depends on the seed, the epoch and its index: any worker, any process, any restart makes the same.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset
from tqdm import tqdm

from ...core.training.seeding import seeded_generator
from ..sequences import Example
from .dataset import TokenDataset
from .passages import Passages
from .rows import Pick, TokenRow

ToExample = Callable[[TokenRow, Any], Example]
Measure = Callable[[Example], int]
_PROGRESS_FROM = 20_000  # rows that take long enough to measure that people wonder


@dataclass(frozen=True, kw_only=True)
class TaskSource:
    """Rows, and what is made of them; the same rows may serve several tasks."""

    dataset: TokenDataset | Passages
    task: str
    to_example: ToExample  # (row, tokenizer) -> Example; a ValueError leaves the row out
    weight: float = 1.0
    companions: float = 0.0  # share of rows that come with another row of their speaker
    unheard: bool = False  # the condition of every row is withheld
    varies: bool = False  # the length of an example depends on ``row.draw``: measure every epoch


@dataclass(frozen=True, slots=True)
class Sample:
    """One item of training."""

    example: Example
    drop_condition: bool  # train without the condition, for guidance
    task: str
    seed: int = 0  # of noise on what is read


@dataclass(frozen=True, slots=True)
class _Epoch:
    sources: NDArray[np.int64]  # [N]
    rows: NDArray[np.int64]  # [N], in their source


class MixedDataset(Dataset[Sample]):
    """A list of samples per epoch; index it by a :class:`Pick` (an int means epoch 0)."""

    def __init__(
        self,
        sources: Sequence[TaskSource],
        tokenizer: Any,
        measure: Measure,
        *,
        temperature: float = 1.0,
        rows_per_epoch: int | None = None,
        condition_dropout: float = 0.0,
        seed: int = 0,
    ) -> None:
        """Describe the mixture; nothing is read yet.

        Args:
            sources: What to mix.
            tokenizer: Handed to ``to_example``.
            measure: Positions of an example in the model's sequence.
            temperature: See above.
            rows_per_epoch: Samples of an epoch; by default as many as all sources have rows.
            condition_dropout: Share of samples that are trained without their condition.
            seed: Of every choice.

        Raises:
            ValueError: No source, a weight or temperature that is none, or tokens of two codecs.
        """
        self._sources = tuple(sources)
        self._tokenizer, self._measure = tokenizer, measure
        self._dropout, self._seed = condition_dropout, seed
        _check_sources(self._sources, temperature)
        sizes = np.asarray([len(source.dataset) for source in self._sources], np.float64)
        weights = np.asarray([source.weight for source in self._sources], np.float64)
        shares = weights * sizes ** (1.0 / temperature)
        self.shares: NDArray[np.float64] = shares / shares.sum()  # [sources]
        total = rows_per_epoch or int(sizes[weights > 0].sum())
        self._counts = apportion(self.shares, total)
        self._epoch: tuple[int, _Epoch] | None = None
        self._fixed: dict[int, NDArray[np.int64]] = {}  # lengths that no epoch changes
        self._lengths: tuple[int, NDArray[np.int64]] | None = None

    @property
    def counts(self) -> dict[str, int]:
        """Samples of an epoch by task."""
        counts: dict[str, int] = {}
        for source, count in zip(self._sources, self._counts, strict=True):
            counts[source.task] = counts.get(source.task, 0) + int(count)
        return counts

    def __len__(self) -> int:
        return int(self._counts.sum())

    def __getitem__(self, pick: int | Pick) -> Sample:
        pick = pick if isinstance(pick, Pick) else Pick(0, int(pick))
        epoch, index = pick.epoch, pick.index
        if not 0 <= index < len(self):
            raise IndexError(f"sample {index} of {len(self)}")
        plan = self._plan(epoch)
        source = self._sources[plan.sources[index]]
        generator = seeded_generator(self._seed, 1, epoch, index)
        drop = bool(generator.random() < self._dropout) or source.unheard
        row = self._row(source, int(plan.rows[index]), generator, source.dataset.__getitem__)
        example = source.to_example(row, self._tokenizer)
        return Sample(example, drop, source.task, int(generator.integers(1 << 62)))

    def lengths(self, epoch: int = 0) -> NDArray[np.int64]:
        """Positions of every sample of an epoch, [N]; 0 where no example can be made of a row."""
        if self._lengths is None or self._lengths[0] != epoch:
            plan = self._plan(epoch)
            result = np.zeros(len(self), np.int64)
            for number, source in enumerate(self._sources):
                places = np.flatnonzero(plan.sources == number)
                if source.companions or source.varies:
                    result[places] = self._drawn_lengths(source, epoch, places, plan)
                else:
                    result[places] = self._fixed_lengths(number)[plan.rows[places]]
            self._lengths = (epoch, result)
        return self._lengths[1]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_epoch": None, "_lengths": None, "_fixed": {}}

    def _row(
        self,
        source: TaskSource,
        place: int,
        generator: np.random.Generator,
        read: Callable[[int], TokenRow],
    ) -> TokenRow:
        """A row with its draws; the draws are the same whatever ``read`` reads."""
        draw = int(generator.integers(1 << 62))
        other = None
        if source.companions and generator.random() < source.companions:
            other = source.dataset.companion(place, generator)
        companion = None if other is None else read(other)
        return dataclasses.replace(read(place), draw=draw, companion=companion)

    def _drawn_lengths(
        self, source: TaskSource, epoch: int, places: NDArray[np.int64], plan: _Epoch
    ) -> list[int]:
        lengths = []
        for index in places.tolist():
            generator = seeded_generator(self._seed, 1, epoch, index)
            generator.random()  # the condition's draw
            row = self._row(source, int(plan.rows[index]), generator, source.dataset.labels)
            lengths.append(self._length(source, row))
        return lengths

    def _fixed_lengths(self, number: int) -> NDArray[np.int64]:
        if number not in self._fixed:
            source = self._sources[number]
            rows = range(len(source.dataset))
            bar = tqdm(rows, f"measure {source.task}", disable=len(rows) < _PROGRESS_FROM)
            lengths = [self._length(source, source.dataset.labels(row)) for row in bar]
            self._fixed[number] = np.asarray(lengths, np.int64)
        return self._fixed[number]

    def _length(self, source: TaskSource, row: TokenRow) -> int:
        try:
            return self._measure(source.to_example(row, self._tokenizer))
        except ValueError:  # an empty text, say: the sampler counts and leaves it out
            return 0

    def _plan(self, epoch: int) -> _Epoch:
        if self._epoch is None or self._epoch[0] != epoch:
            sources, rows = [], []
            for number, count in enumerate(self._counts.tolist()):
                size = len(self._sources[number].dataset)
                sources.append(np.full(count, number, np.int64))
                rows.append(draws(size, epoch * count, count, self._seed, number))
            self._epoch = (epoch, _Epoch(np.concatenate(sources), np.concatenate(rows)))
        return self._epoch[1]


def apportion(shares: NDArray[np.float64], total: int) -> NDArray[np.int64]:
    """Whole numbers in these shares that add up to the total (largest remainders).

    Example:
        >>> apportion(np.array([0.5, 0.3, 0.2]), 9)
        array([4, 3, 2])
    """
    exact = shares * total
    counts = np.floor(exact).astype(np.int64)
    order = np.argsort(counts - exact, kind="stable")  # the largest remainder first
    counts[order[: total - int(counts.sum())]] += 1
    return counts


def draws(size: int, first: int, count: int, seed: int, number: int) -> NDArray[np.int64]:
    """Draws ``first .. first + count`` of endless passes through ``size`` rows, each shuffled."""
    passes = range(first // size, -(-(first + count) // size))
    orders = [seeded_generator(seed, 0, number, turn).permutation(size) for turn in passes]
    if not orders:
        return np.zeros(0, np.int64)
    begin = first - passes.start * size
    return np.concatenate(orders)[begin : begin + count].astype(np.int64)


def _check_sources(sources: Sequence[TaskSource], temperature: float) -> None:
    if not sources:
        raise ValueError("no source was given, expected at least one")
    if not temperature > 0:
        raise ValueError(f"temperature must be positive, got {temperature}")
    if any(source.weight < 0 for source in sources) or not any(s.weight for s in sources):
        weights = [source.weight for source in sources]
        raise ValueError(f"weights must be >= 0 and one of them positive, got {weights}")
    first = sources[0].dataset
    for source in sources:
        if source.dataset.fingerprint != first.fingerprint:
            raise ValueError(
                f"tokens of two codecs cannot be mixed: {sources[0].task} has codec"
                f" {first.fingerprint}, {source.task} has codec {source.dataset.fingerprint}"
            )
