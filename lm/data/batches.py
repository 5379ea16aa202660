"""Samples -> padded rows of the model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from ..config import AudioLMConfig
from ..patterns import layout
from ..sequences import Example, Segment, TextSegment, build_sequence, collate
from .mixing import Sample


@dataclass(frozen=True)
class Collator:
    """The ``collate_fn`` of training: build sequences, pad on the right."""

    config: AudioLMConfig
    eos_id: int

    def __call__(self, samples: Sequence[Sample]) -> dict[str, Tensor]:
        """`input_ids` and `labels` `[B, L, 1+K]`, `attention_mask` `[B, L]`."""
        sequences = [
            build_sequence(
                sample.example,
                self.config,
                eos_id=self.eos_id,
                drop_condition=sample.drop_condition,
            )
            for sample in samples
        ]
        return collate(sequences, self.config)


@dataclass(frozen=True)
class SequenceLength:
    """Rows of ``build_sequence`` for an example, counted without building them."""

    config: AudioLMConfig

    def __call__(self, example: Example) -> int:
        """Positions `L`, with the conditions.

        Raises:
            ValueError: The target is empty, as in ``build_sequence``.
        """
        *conditions, target = example.segments
        length = self._rows(target)
        if length < 2:
            raise ValueError(f"the target of this {example.task!r} example is empty")
        # task, rate, the opening of each segment
        return 2 + sum(1 + self._rows(segment) for segment in conditions) + 1 + length

    def _rows(self, segment: Segment) -> int:
        if isinstance(segment, TextSegment):
            return len(segment.ids) + 1
        return layout(self.config).num_rows(segment.codes.shape[-1])
