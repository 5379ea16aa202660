"""Lengths of examples in positions of a model, and samples of the rows of a stream."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from ...core.training.seeding import draw_unit
from ..config import AudioLMConfig
from ..data.collator import SequenceLength
from ..data.mixing import Sample
from ..data.rows import TokenRow
from ..sequences import Example
from ..task_registry import TrainableTask
from ..text.encoder import TextEncoder
from ..vocabulary import Vocabulary


@dataclass(frozen=True)
class ExampleLength:
    """Positions of an example; 0 if it exceeds the limit or the positions of the model."""

    config: AudioLMConfig
    max_length: int | None = None
    _length: SequenceLength = field(init=False)
    _limit: int = field(init=False)

    @property
    def key(self) -> list[Any]:
        """What a length depends on, as JSON values."""
        layout = (self.config.pattern, self.config.depth_delay, self.config.num_codebooks)
        return [*layout, list(self.config.voices), self._limit]

    def __post_init__(self) -> None:
        # Computed once: reading a field of a transformers config takes microseconds.
        positions = self.config.max_positions
        limit = positions if self.max_length is None else min(self.max_length, positions)
        object.__setattr__(self, "_length", SequenceLength(Vocabulary(self.config)))
        object.__setattr__(self, "_limit", limit)

    def __call__(self, example: Example) -> int:
        """Return the number of positions."""
        length = self._length(example)
        return length if length <= self._limit else 0


@dataclass(frozen=True)
class SampleLength:
    """:class:`ExampleLength` for samples of a stream."""

    length: ExampleLength

    def __call__(self, sample: Sample) -> int:
        """Return the number of positions."""
        return self.length(sample.example)


@dataclass(frozen=True)
class StreamSamples:
    """Samples of a row of a stream; random tasks depend on its draw only."""

    tasks: tuple[tuple[TrainableTask, float], ...]  # with their weights
    texts: TextEncoder
    dropout: float

    def __call__(self, row: TokenRow) -> Iterator[Sample]:
        """Yield a sample for each task that is drawn for the row."""
        max_weight = max(weight for _, weight in self.tasks)
        for number, (task, weight) in enumerate(self.tasks):
            if task.domains and row.domain not in task.domains:
                continue
            if draw_unit(row.draw, "task", number) >= weight / max_weight:
                continue
            try:
                example = task.to_example(row, self.texts)
            except ValueError:  # such as an empty text
                continue
            drop = draw_unit(row.draw, "condition", number) < self.dropout
            noise = int(draw_unit(row.draw, "noise", number) * (1 << 53))
            yield Sample(example, drop, task.name, noise)
