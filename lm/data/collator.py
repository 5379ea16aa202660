"""Samples of training -> padded or packed batches of token rows, optionally with input noise.

Shapes: `B` batch, `L` rows, `K` codebooks.
"""

from __future__ import annotations

import collections.abc
import dataclasses
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..config import AudioLMConfig
from ..patterns import layout
from ..sequences import (
    IGNORED,
    AudioSegment,
    Example,
    Segment,
    Sequence,
    SpeakerSegment,
    TextSegment,
    build_sequence,
    collate,
    pack,
)
from ..vocabulary import Vocabulary
from .mixing import Sample


@dataclass(frozen=True)
class Collator:
    """The ``collate_fn`` of training: builds sequences, and pads them on the right or packs them.

    transformers' Trainer takes it too; a batch of N examples is packed into one row.
    """

    config: AudioLMConfig
    eos_id: int
    noise: float = 0.0  # share of the input rows that is replaced, see `add_input_noise`
    noise_span: int = 1  # maximum rows of a replaced span of conditioning codes
    packing: bool = False  # one after another in one row, instead of padded

    def __call__(self, samples: collections.abc.Sequence[Sample]) -> dict[str, Tensor]:
        """Return `input_ids` and `labels` `[B, L, 1+K]` and `attention_mask` `[B, L]`.

        Packed: `[1, T, 1+K]`, and `document_lengths` `[N]` instead of the mask.
        """
        vocabulary = Vocabulary(self.config)
        sequences = [self._sequence(sample, vocabulary) for sample in samples]
        return pack(sequences) if self.packing else collate(sequences, self.config)

    def _sequence(self, sample: Sample, vocabulary: Vocabulary) -> Sequence:
        sequence = build_sequence(
            sample.example, vocabulary, eos_id=self.eos_id, drop_condition=sample.drop_condition
        )
        return add_input_noise(
            sequence,
            vocabulary,
            eos_id=self.eos_id,
            share=self.noise,
            seed=sample.seed,
            span=self.noise_span,
        )


@dataclass(frozen=True)
class SequenceLength:
    """Number of rows that ``build_sequence`` makes of an example, without building them."""

    config: AudioLMConfig | Vocabulary  # a vocabulary is faster for many examples

    def __call__(self, example: Example) -> int:
        """Return the number of rows `L`, including the conditions.

        Raises:
            ValueError: The target is empty, as in ``build_sequence``.
        """
        *conditions, target = example.segments
        assert not isinstance(target, SpeakerSegment)
        length = self._rows(target)
        if length < 2:
            raise ValueError(f"the target of this {example.task!r} example is empty")
        # task, rate and the segments with their openings
        return 2 + sum(self._condition(segment) for segment in conditions) + 1 + length

    def _condition(self, segment: Segment) -> int:
        if isinstance(segment, SpeakerSegment):
            return int(Vocabulary.of(self.config).voice(segment.name) is not None)
        return 1 + self._rows(segment)

    def _rows(self, segment: TextSegment | AudioSegment) -> int:
        if isinstance(segment, TextSegment):
            return len(segment.ids) + 1
        return layout(self.config).num_rows(segment.codes.shape[-1])


def add_input_noise(
    sequence: Sequence,
    config: AudioLMConfig | Vocabulary,
    *,
    eos_id: int,
    share: float,
    seed: int,
    span: int = 1,
) -> Sequence:
    """Replace random target text ids, and random rows of codes, in the inputs of a sequence.

    Given how a transcript starts, a model of little text would continue it from memory. With
    errors among the previous ids it has to use the audio, and with errors among the codes it has
    to use their context (ours, D; related to word dropout and SpecAugment, Park et al. 2019).

    Labels, end tokens, control tokens (task, rate, segment openings) and conditioning texts are
    not changed: a missing word of the text could not be spoken.

    Args:
        sequence: Rows `[L, 1+K]`.
        config: Of the model, or its vocabulary.
        eos_id: End token of the tokenizer.
        share: Share of the rows that is replaced.
        seed: Seed of the positions and of the replacements.
        span: Maximum length, in rows, of a replaced span of conditioning codes; target codes are
            replaced row by row.

    Returns:
        A sequence with the same labels and other `input_ids`.
    """
    if not share:
        return sequence
    rng, vocabulary = np.random.default_rng(seed), Vocabulary.of(config)
    rows, labels = sequence.input_ids.numpy().copy(), sequence.labels.numpy()
    chosen = rng.random(len(rows)) < share
    is_target = labels[:, 0] != IGNORED
    text = chosen & is_target & (rows[:, 0] < vocabulary.num_text) & (rows[:, 0] != eos_id)
    rows[text, 0] = rng.integers(vocabulary.num_text, size=int(text.sum()))
    inputs = rows[:, 1:]  # [L, K], a view
    if span > 1:
        target_codes = (labels[:, 1:] != IGNORED).any(axis=1)
        spans = _spans(np.random.default_rng([seed, 1]), len(rows), share, span)
        chosen = np.where(target_codes, chosen, spans)
    codes = chosen[:, None] & (inputs < vocabulary.audio_end)  # neither end tokens nor padding
    inputs[codes] = rng.integers(vocabulary.num_codes, size=int(codes.sum()))
    return dataclasses.replace(sequence, input_ids=torch.from_numpy(rows))


def _spans(rng: np.random.Generator, count: int, share: float, span: int) -> NDArray[np.bool_]:
    """Mask `[L]` of `count` rows: random spans of 1 to `span` rows that cover about `share`."""
    rate = -np.log1p(-share) / ((1 + span) / 2)  # of starts; spans may overlap
    starts = np.flatnonzero(rng.random(count) < rate)
    ends = starts + rng.integers(1, span + 1, size=len(starts))
    edges = np.zeros(count + span + 1, np.int64)
    np.add.at(edges, starts, 1)
    np.add.at(edges, ends, -1)
    return np.asarray(edges.cumsum()[:count] > 0)
