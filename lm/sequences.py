"""Sequences: texts and codes -> rows and labels of a language model.

A sequence is a task, a rate and an ordered list of segments, of which the last is the target:

    [task] [rate] [voice]  [open_text] text.. eos  [open_audio] audio rows.. end  (loss on the last)

The row of a voice is only there for speakers that the model knows by name.

Conditions can be dropped (replaced by one `no_condition` row), for classifier-free guidance.

Shapes: `L` rows, `K` codebooks, `Q` frames of codes, `B` batch.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from .config import AudioLMConfig
from .patterns import layout
from .vocabulary import Vocabulary

IGNORED = -100  # label that is not a target, as in transformers


@dataclass(frozen=True)
class TextSegment:
    """Text, as ids of the backbone's tokenizer without special tokens."""

    ids: tuple[int, ...]


@dataclass(frozen=True)
class AudioSegment:
    """Audio, as codes."""

    codes: Tensor  # [K, Q] int64


@dataclass(frozen=True)
class SpeakerSegment:
    """A speaker by name: a control row if it is a voice of the model, else no row."""

    name: str


Segment = TextSegment | AudioSegment | SpeakerSegment


@dataclass(frozen=True)
class Example:
    """One training example; the last segment is the target."""

    task: str
    segments: tuple[Segment, ...]
    frames_per_query: int


@dataclass(frozen=True)
class Sequence:
    """Rows and their labels."""

    input_ids: Tensor  # [L, 1+K] int64
    labels: Tensor  # [L, 1+K] int64, IGNORED except at targets

    def __len__(self) -> int:
        return len(self.input_ids)


def build_sequence(
    example: Example,
    config: AudioLMConfig | Vocabulary,
    *,
    eos_id: int,
    drop_condition: bool = False,
) -> Sequence:
    """Build the rows of an example, with labels for the content and the end of its last segment.

    Args:
        example: texts and codes.
        config: of the model, or its vocabulary, which is faster for many examples.
        eos_id: the tokenizer's end token.
        drop_condition: replace the conditions by `no_condition`.

    Raises:
        ValueError: for an unknown task or rate, ids or codes out of range, an empty target.
    """
    vocabulary = Vocabulary.of(config)
    *conditions, target = example.segments
    kind: Literal["text", "audio"] = "text" if isinstance(target, TextSegment) else "audio"
    head = build_prompt(
        example.task,
        conditions,
        kind,
        vocabulary,
        frames_per_query=example.frames_per_query,
        eos_id=eos_id,
        drop_condition=drop_condition,
    )
    content = _content(target, vocabulary, eos_id)
    if len(content) < 2:
        raise ValueError(f"the target of this {example.task!r} example is empty")
    labels = content.clone()
    labels[labels[:, 0] == vocabulary.text_empty, 0] = IGNORED
    labels[:, 1:][labels[:, 1:] == vocabulary.audio_empty] = IGNORED
    return Sequence(
        torch.cat([head, content]),
        torch.cat([torch.full_like(head, IGNORED), labels]),
    )


def build_prompt(
    task: str,
    conditions: Iterable[Segment],
    target: Literal["text", "audio"],
    config: AudioLMConfig | Vocabulary,
    *,
    frames_per_query: int,
    eos_id: int,
    prefix: AudioSegment | None = None,
    drop_condition: bool = False,
) -> Tensor:
    """Return the rows `[L, 1+K]` after which the target begins.

    Args:
        task: name, one of `config.tasks`.
        conditions: segments before the target.
        target: kind of the target.
        config: of the model, or its vocabulary.
        frames_per_query: rate of every audio in the sequence.
        eos_id: the tokenizer's end token.
        prefix: beginning of an audio target, which is to be continued.
        drop_condition: replace the conditions by `no_condition`.
    """
    vocabulary = Vocabulary.of(config)
    head = [vocabulary.task(task), vocabulary.rate(frames_per_query)]
    rows = [_text_rows(head + [vocabulary.no_condition] * drop_condition, vocabulary)]
    for segment in () if drop_condition else conditions:
        if not isinstance(segment, SpeakerSegment):
            rows.append(_opening(isinstance(segment, TextSegment), vocabulary))
        rows.append(_content(segment, vocabulary, eos_id))
    rows.append(_opening(target == "text", vocabulary))
    if prefix is not None:
        rows.append(_audio_rows(prefix, vocabulary, ended=False))
    return torch.cat(rows)


def collate(
    sequences: list[Sequence], config: AudioLMConfig, side: Literal["left", "right"] = "right"
) -> dict[str, Tensor]:
    """Pad to one length: `input_ids` and `labels` `[B, L, 1+K]`, `attention_mask` `[B, L]`."""
    longest = max(len(sequence) for sequence in sequences)
    empty = _empty_row(config)
    inputs, labels, masks = [], [], []
    for sequence in sequences:
        missing = longest - len(sequence)
        spread = (missing, 0) if side == "left" else (0, missing)
        padding = empty.expand(missing, -1)
        parts = [padding, sequence.input_ids] if side == "left" else [sequence.input_ids, padding]
        inputs.append(torch.cat(parts))
        labels.append(F.pad(sequence.labels, (0, 0, *spread), value=IGNORED))
        masks.append(F.pad(torch.ones(len(sequence), dtype=torch.int64), spread))
    return {
        "input_ids": torch.stack(inputs),
        "attention_mask": torch.stack(masks),
        "labels": torch.stack(labels),
    }


def pack(sequences: list[Sequence]) -> dict[str, Tensor]:
    """Lay sequences one after another in one row, without padding (`packing.py`).

    They are sorted by length: those of one length are computed together.

    Returns:
        `input_ids` and `labels` `[1, T, 1+K]`, and `document_lengths` `[N]`.
    """
    ordered = sorted(sequences, key=len)
    return {
        "input_ids": torch.cat([sequence.input_ids for sequence in ordered])[None],
        "labels": torch.cat([sequence.labels for sequence in ordered])[None],
        "document_lengths": torch.tensor([len(sequence) for sequence in ordered]),
    }


def text_rows(ids: Iterable[int], config: AudioLMConfig) -> Tensor:
    """Rows `[L, 1+K]` of text or control ids."""
    return _text_rows(list(ids), Vocabulary(config))


def _text_rows(ids: list[int] | tuple[int, ...], vocabulary: Vocabulary) -> Tensor:
    stream = torch.tensor(ids, dtype=torch.int64)
    rows = stream.new_full((len(stream), 1 + vocabulary.num_codebooks), vocabulary.audio_empty)
    rows[:, 0] = stream
    return rows


def _opening(text: bool, vocabulary: Vocabulary) -> Tensor:
    return _text_rows([vocabulary.open_text if text else vocabulary.open_audio], vocabulary)


def _content(segment: Segment, vocabulary: Vocabulary, eos_id: int) -> Tensor:
    """Rows of a segment with its end; of a speaker one or none."""
    if isinstance(segment, SpeakerSegment):
        voice = vocabulary.voice(segment.name)
        return _text_rows([] if voice is None else [voice], vocabulary)
    if isinstance(segment, AudioSegment):
        return _audio_rows(segment, vocabulary, ended=True)
    size = vocabulary.num_text
    invalid = [i for i in segment.ids if not 0 <= i < size]
    if invalid:
        raise ValueError(f"text ids must be 0..{size - 1}, got {invalid[:5]}")
    return _text_rows((*segment.ids, eos_id), vocabulary)


def _audio_rows(segment: AudioSegment, vocabulary: Vocabulary, *, ended: bool) -> Tensor:
    codes, size = segment.codes, vocabulary.num_codes
    if codes.numel() and not (0 <= int(codes.min()) and int(codes.max()) < size):
        raise ValueError(f"codes must be 0..{size - 1}, got {int(codes.min())}..{int(codes.max())}")
    grid = layout(vocabulary).apply(codes, ended=ended)
    return F.pad(grid, (1, 0), value=vocabulary.text_empty)


def _empty_row(config: AudioLMConfig) -> Tensor:
    vocabulary = Vocabulary(config)
    return torch.tensor([[vocabulary.text_empty] + [vocabulary.audio_empty] * config.num_codebooks])
