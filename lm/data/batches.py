"""Samples -> padded rows of the model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from ..config import AudioLMConfig
from ..patterns import layout
from ..sequences import Example, Segment, TextSegment, build_sequence, collate
from ..sequences import Sequence as RowSequence
from ..vocabulary import Vocabulary
from .mixing import Sample
from .noise import with_noise


@dataclass(frozen=True)
class Collator:
    """The ``collate_fn`` of training: build sequences, pad on the right."""

    config: AudioLMConfig
    eos_id: int
    noise: float = 0.0  # share of what is read that is drawn at random
    noise_span: int = 1  # most rows in a row of what is heard

    def __call__(self, samples: Sequence[Sample]) -> dict[str, Tensor]:
        """`input_ids` and `labels` `[B, L, 1+K]`, `attention_mask` `[B, L]`."""
        vocabulary = Vocabulary(self.config)
        return collate([self._sequence(sample, vocabulary) for sample in samples], self.config)

    def _sequence(self, sample: Sample, vocabulary: Vocabulary) -> RowSequence:
        sequence = build_sequence(
            sample.example, vocabulary, eos_id=self.eos_id, drop_condition=sample.drop_condition
        )
        return with_noise(
            sequence,
            vocabulary,
            eos_id=self.eos_id,
            share=self.noise,
            seed=sample.seed,
            span=self.noise_span,
        )


@dataclass(frozen=True)
class SequenceLength:
    """Rows of ``build_sequence`` for an example, counted without building them."""

    config: AudioLMConfig | Vocabulary  # a vocabulary is quicker for many examples

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
