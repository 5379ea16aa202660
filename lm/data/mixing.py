"""Mix several corpora and tasks into one list of samples per epoch.

The share of a source is ``weight * rows ** (1 / temperature)``, normalized: temperature 1 samples
in proportion to the rows, higher values raise the share of small sources, infinity uses the
weights alone. Over the epochs all rows of a source occur equally often. Random choices depend on
the seed, the epoch and the index of a sample only, not on workers, processes or restarts.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from ...core.reading import read_lines
from ...core.training.seeding import seeded_generator
from ..sequences import Example, TextSegment
from ..text.encoder import TextEncoder
from .dataset import TokenDataset
from .lengths import STORED_FROM, LengthStore
from .rows import EpochIndex, TokenRow
from .shards import ShardInfo

ToExample = Callable[[TokenRow, Any], Example]
Measure = Callable[[Example], int]


class TextDataset:
    """Lines of text files as rows without audio, with the interface of a :class:`TokenDataset`.

    A few hours of speech hold tens of thousands of words, while a model that transcribes needs
    millions. Training on a transcript without its audio is the same as dropping the condition.
    """

    def __init__(
        self, files: Sequence[str], info: ShardInfo, frames_per_query: int, *, language: str = ""
    ):
        """Read the files.

        Args:
            files: Plain text in UTF-8, one passage per line, each about as long as an utterance.
            info: Metadata of the tokens that the texts are mixed with.
            frames_per_query: Of these tokens.
            language: Of the texts.

        Raises:
            ValueError: A file is missing or is not UTF-8, or all files are empty.
        """
        self._lines = [line for name in files for line in _read_lines(Path(name))]
        if not self._lines:
            raise ValueError(f"no line of text in {', '.join(files)}")
        self._info, self._rate, self._language = info, frames_per_query, language

    @property
    def fingerprint(self) -> str:
        """Of the codec of the tokens that the texts are mixed with."""
        return self._info.fingerprint

    def digest(self) -> str:
        """SHA-256 of the texts and of what all rows have in common."""
        common = [self._rate, self._language, self._info.num_codebooks, self._info.sample_rate]
        digest = hashlib.sha256(json.dumps([common, len(self._lines)]).encode())
        for line in self._lines:
            digest.update(line.encode() + b"\n")
        return digest.hexdigest()

    def __len__(self) -> int:
        return len(self._lines)

    def __getitem__(self, index: int | EpochIndex) -> TokenRow:
        place = index.index if isinstance(index, EpochIndex) else int(index)
        return TokenRow(
            id=f"passage-{place}",
            codes=torch.zeros(self._info.num_codebooks, 0, dtype=torch.int64),
            frames_per_query=self._rate,
            num_samples=0,
            sample_rate=self._info.sample_rate,
            fingerprint=self._info.fingerprint,
            text=self._lines[place],
            language=self._language,
            domain="speech",
            split="train",
        )

    labels = __getitem__

    def companion(self, index: int, generator: Any) -> None:
        """Return None: texts have no speakers."""
        return None


def text_only_example(task: str, row: TokenRow, texts: TextEncoder) -> Example:
    """Example of a text without audio: a transcript as target, no condition.

    Raises:
        ValueError: The text has no speakable content.
    """
    ids = texts.encode(row.text, transcript=True, language=row.language or None)
    return Example(task, (TextSegment(ids),), row.frames_per_query)


def _read_lines(path: Path) -> list[str]:
    try:
        return [line.strip() for _, line in read_lines(path) if line.strip()]
    except FileNotFoundError:
        raise ValueError(f"no file {path}: --texts takes text files, a passage a line") from None


@dataclass(frozen=True, kw_only=True)
class TaskSource:
    """A dataset and the task whose examples are made of its rows."""

    dataset: TokenDataset | TextDataset
    task: str
    to_example: ToExample  # (row, tokenizer) -> Example; a ValueError skips the row
    weight: float = 1.0
    companions: float = 0.0  # share of the rows with another row of the same speaker
    unconditional: bool = False  # drop the condition of every row
    varies: bool = False  # the length of an example depends on ``row.draw``: measure every epoch
    key: str = ""  # `lengths.examples_key`; "": lengths are not stored


@dataclass(frozen=True, slots=True)
class Sample:
    """One training sample."""

    example: Example
    drop_condition: bool  # train without the condition, for classifier-free guidance
    task: str
    seed: int = 0  # of the input noise


@dataclass(frozen=True, slots=True)
class _Epoch:
    sources: NDArray[np.int64]  # [N]
    rows: NDArray[np.int64]  # [N], in their source


class MixedDataset(Dataset[Sample]):
    """Samples per epoch, indexed by an :class:`EpochIndex` (an int means epoch 0)."""

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
        store: LengthStore | None = None,
    ) -> None:
        """Set up the mixture; no rows are read yet.

        Args:
            sources: Datasets with their tasks.
            tokenizer: Passed to ``to_example``.
            measure: Length of an example in rows of the model, ``SequenceLength(config)``.
            temperature: See above.
            rows_per_epoch: Samples per epoch; by default the number of rows of all sources.
            condition_dropout: Share of samples that are trained without their condition.
            seed: Seed of all random choices.
            store: Of measured lengths.

        Raises:
            ValueError: No source, an invalid weight or temperature, or tokens of two codecs.
        """
        self._sources = tuple(sources)
        self._tokenizer, self._measure = tokenizer, measure
        self._dropout, self._seed, self._store = condition_dropout, seed, store
        _check_sources(self._sources, temperature)
        sizes = np.asarray([len(source.dataset) for source in self._sources], np.float64)
        weights = np.asarray([source.weight for source in self._sources], np.float64)
        shares = weights * sizes ** (1.0 / temperature)
        self.shares: NDArray[np.float64] = shares / shares.sum()  # [sources]
        total = rows_per_epoch or int(sizes[weights > 0].sum())
        self._counts = apportion(self.shares, total)
        self.first_refusal = ""  # why the first row without an example was refused
        self._epoch: tuple[int, _Epoch] | None = None
        # Lengths by source that are the same in every epoch; -1: not measured.
        self._fixed: dict[int, NDArray[Any]] = {}
        self._lengths: tuple[int, NDArray[np.int64]] | None = None

    @property
    def counts(self) -> dict[str, int]:
        """Samples per epoch by task."""
        counts: dict[str, int] = {}
        for source, count in zip(self._sources, self._counts, strict=True):
            counts[source.task] = counts.get(source.task, 0) + int(count)
        return counts

    def __len__(self) -> int:
        return int(self._counts.sum())

    def __getitem__(self, index: int | EpochIndex) -> Sample:
        epoch, index = (index.epoch, index.index) if isinstance(index, EpochIndex) else (0, index)
        if not 0 <= index < len(self):
            raise IndexError(f"sample {index} of {len(self)}")
        plan = self._plan(epoch)
        source = self._sources[plan.sources[index]]
        generator = seeded_generator(self._seed, 1, epoch, index)
        drop = bool(generator.random() < self._dropout) or source.unconditional
        row = self._row(source, int(plan.rows[index]), generator, source.dataset.__getitem__)
        example = source.to_example(row, self._tokenizer)
        return Sample(example, drop, source.task, int(generator.integers(1 << 62)))

    def lengths(self, epoch: int = 0) -> NDArray[np.int64]:
        """Length of every sample of an epoch, [N]; 0 where a row gives no example."""
        if self._lengths is None or self._lengths[0] != epoch:
            plan = self._plan(epoch)
            result = np.zeros(len(self), np.int64)
            for number, source in enumerate(self._sources):
                places = np.flatnonzero(plan.sources == number)
                if source.companions or source.varies:
                    result[places] = self._drawn_lengths(number, epoch, places)
                else:
                    result[places] = self._fixed_lengths(number, plan.rows[places])
            self._lengths = (epoch, result)
        return self._lengths[1]

    def unmeasured(self) -> int:
        """Number of examples to measure before the first epoch, without those that are stored."""
        count, plan = 0, self._plan(0)
        for number, source in enumerate(self._sources):
            places = np.flatnonzero(plan.sources == number)
            drawn = source.companions or source.varies
            size = len(source.dataset)
            needed = len(places) if drawn else len(_different(plan.rows[places], size))
            if self._store is None or not self._is_stored(number, needed):
                count += needed
            elif drawn:
                count += self._store.left(self._drawn_key(number, 0, places), len(places))
            else:
                count += self._store.left(self._key(number), size)
        return count

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_epoch": None, "_lengths": None, "_fixed": {}}

    def _row(
        self,
        source: TaskSource,
        place: int,
        generator: np.random.Generator,
        read: Callable[[int], TokenRow],
    ) -> TokenRow:
        """A row with its random number and companion, the same for every function ``read``."""
        draw = int(generator.integers(1 << 62))
        other = None
        if source.companions and generator.random() < source.companions:
            other = source.dataset.companion(place, generator)
        companion = None if other is None else read(other)
        return dataclasses.replace(read(place), draw=draw, companion=companion)

    def _drawn_lengths(
        self, number: int, epoch: int, places: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        """Lengths that depend on the random numbers of an epoch."""
        measure = functools.partial(self._measure_drawn, number, epoch, places)
        if self._store is None or not self._is_stored(number, len(places)):
            return measure(range(len(places)))
        key, name = self._drawn_key(number, epoch, places), self._sources[number].task
        return self._store.lengths(key, len(places), measure, name)

    def _fixed_lengths(self, number: int, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Lengths of rows of a source that are the same in every epoch."""
        source = self._sources[number]
        needed = _different(rows, len(source.dataset))
        known = self._fixed.setdefault(number, np.full(len(source.dataset), -1, np.int32))
        needed = needed[known[needed] < 0]
        if self._store is not None and self._is_stored(number, len(needed)):
            measure = functools.partial(self._measure_rows, number)
            known = self._fixed[number] = self._store.lengths(
                self._key(number), len(source.dataset), measure, source.task
            )
        elif len(needed):
            known[needed] = self._measure_rows(number, needed.tolist())
        return known[rows]

    def _measure_rows(self, number: int, rows: Sequence[int]) -> NDArray[np.int64]:
        source = self._sources[number]
        lengths = [self._length(source, source.dataset.labels(row)) for row in rows]
        return np.asarray(lengths, np.int64)

    def _measure_drawn(
        self, number: int, epoch: int, places: NDArray[np.int64], part: range
    ) -> NDArray[np.int64]:
        source, plan, lengths = self._sources[number], self._plan(epoch), []
        for index in places[part.start : part.stop].tolist():
            generator = seeded_generator(self._seed, 1, epoch, index)
            generator.random()  # drawn for the condition dropout
            row = self._row(source, int(plan.rows[index]), generator, source.dataset.labels)
            lengths.append(self._length(source, row))
        return np.asarray(lengths, np.int64)

    def _is_stored(self, number: int, count: int) -> bool:
        """Whether lengths are worth a file, and everything that they depend on is known."""
        return bool(self._sources[number].key) and count >= STORED_FROM

    def _key(self, number: int, *values: Any) -> str:
        source = self._sources[number]
        return _hash([source.key, source.dataset.digest(), *values])

    def _drawn_key(self, number: int, epoch: int, places: NDArray[np.int64]) -> str:
        rows = np.stack([places, self._plan(epoch).rows[places]]).astype("<i8")
        digest = hashlib.sha256(rows.tobytes()).hexdigest()
        companions = self._sources[number].companions
        return self._key(number, "drawn", companions, self._seed, epoch, digest)

    def _length(self, source: TaskSource, row: TokenRow) -> int:
        try:
            return self._measure(source.to_example(row, self._tokenizer))
        except ValueError as error:  # such as an empty text; the sampler counts and skips it
            self.first_refusal = self.first_refusal or str(error)
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


def _different(rows: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    """The different rows of 0 .. size - 1, in order; ``np.unique`` takes a second for a million."""
    return np.flatnonzero(np.bincount(rows, minlength=size))


def _hash(values: Any) -> str:
    return hashlib.sha256(json.dumps(values).encode()).hexdigest()[:32]


def apportion(shares: NDArray[np.float64], total: int) -> NDArray[np.int64]:
    """Round shares of a total to integers that add up to it (largest remainders).

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
    """Rows ``first .. first + count`` of endless, separately shuffled passes over ``size`` rows."""
    passes = range(first // size, -(-(first + count) // size))
    orders = [seeded_generator(seed, 0, number, turn).permutation(size) for turn in passes]
    if not orders:
        return np.zeros(0, np.int64)
    begin = first - passes.start * size
    return np.concatenate(orders)[begin : begin + count].astype(np.int64)


def _check_sources(sources: Sequence[TaskSource], temperature: float) -> None:
    if not sources:
        raise ValueError("sources must be at least one, got none")
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
