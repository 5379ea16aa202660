"""From texts and codes to the rows of a language model, and what it is to learn of them.

A sequence is a task, a rate and an ordered list of segments; the last segment is the target:

    [task] [rate]  [open_text] text.. eos   [open_audio] audio rows.. end      (loss on the last)

Conditions can be withheld (one `no_condition` row in their place): a model that has seen this in
training can be guided away from it in generation.

Letters: `L` rows, `K` codebooks, `Q` frames of codes, `B` batch.
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

IGNORED = -100  # a label that is no target, as in transformers


@dataclass(frozen=True)
class TextSegment:
    """Text, as ids of the backbone's tokenizer without special tokens."""

    ids: tuple[int, ...]


@dataclass(frozen=True)
class AudioSegment:
    """Audio, as codes."""

    codes: Tensor  # [K, Q] int64


Segment = TextSegment | AudioSegment


@dataclass(frozen=True)
class Example:
    """One training example; the last segment is the target."""

    task: str
    segments: tuple[Segment, ...]
    frames_per_query: int


@dataclass(frozen=True)
class Sequence:
    """Rows, and the labels of those that are targets."""

    input_ids: Tensor  # [L, 1+K] int64
    labels: Tensor  # [L, 1+K] int64, IGNORED where there is nothing to learn

    def __len__(self) -> int:
        return len(self.input_ids)


def build_sequence(
    example: Example, config: AudioLMConfig, *, eos_id: int, drop_condition: bool = False
) -> Sequence:
    """Lay an example out, with loss on the content and the end of its last segment.

    Raises:
        ValueError: for an unknown task or rate, codes that are not of this model, an empty target.
    """
    *conditions, target = example.segments
    kind: Literal["text", "audio"] = "text" if isinstance(target, TextSegment) else "audio"
    head = build_prompt(
        example.task,
        conditions,
        kind,
        config,
        frames_per_query=example.frames_per_query,
        eos_id=eos_id,
        drop_condition=drop_condition,
    )
    content = _content(target, config, eos_id)
    if len(content) < 2:
        raise ValueError(f"the target of this {example.task!r} example is empty")
    vocabulary = Vocabulary(config)
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
    config: AudioLMConfig,
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
        config: of the model.
        frames_per_query: rate of every audio in the sequence.
        eos_id: the tokenizer's end token.
        prefix: the audio target's beginning, to be continued.
        drop_condition: put `no_condition` in the place of the conditions.
    """
    vocabulary = Vocabulary(config)
    rows = [_control(vocabulary.task(task), config)]
    rows.append(_control(vocabulary.rate(frames_per_query), config))
    if drop_condition:
        rows.append(_control(vocabulary.no_condition, config))
    else:
        for segment in conditions:
            rows.append(_opening(segment, config))
            rows.append(_content(segment, config, eos_id))
    opening = vocabulary.open_text if target == "text" else vocabulary.open_audio
    rows.append(_control(opening, config))
    if prefix is not None:
        rows.append(_audio_rows(prefix, config, ended=False))
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


def text_rows(ids: Iterable[int], config: AudioLMConfig) -> Tensor:
    """Rows `[L, 1+K]` of text or control ids."""
    stream = torch.tensor(list(ids), dtype=torch.int64)
    rows = _empty_row(config).repeat(len(stream), 1)
    rows[:, 0] = stream
    return rows


def _control(control: int, config: AudioLMConfig) -> Tensor:
    return text_rows([control], config)


def _opening(segment: Segment, config: AudioLMConfig) -> Tensor:
    vocabulary = Vocabulary(config)
    text = isinstance(segment, TextSegment)
    return _control(vocabulary.open_text if text else vocabulary.open_audio, config)


def _content(segment: Segment, config: AudioLMConfig, eos_id: int) -> Tensor:
    """The rows of a segment with its end."""
    if isinstance(segment, AudioSegment):
        return _audio_rows(segment, config, ended=True)
    size = config.vocab_size  # once: a look into a config of transformers costs microseconds
    strange = [i for i in segment.ids if not 0 <= i < size]
    if strange:
        raise ValueError(f"text ids must be 0..{size - 1}; came {strange[:5]}")
    return text_rows((*segment.ids, eos_id), config)


def _audio_rows(segment: AudioSegment, config: AudioLMConfig, *, ended: bool) -> Tensor:
    codes = segment.codes
    if codes.numel() and not (0 <= int(codes.min()) and int(codes.max()) < config.codebook_size):
        raise ValueError(
            f"codes must be 0..{config.codebook_size - 1}; came "
            f"{int(codes.min())}..{int(codes.max())}"
        )
    grid = layout(config).apply(codes, ended=ended)
    text = grid.new_full((len(grid), 1), Vocabulary(config).text_empty)
    return torch.cat([text, grid], dim=1)


def _empty_row(config: AudioLMConfig) -> Tensor:
    vocabulary = Vocabulary(config)
    return torch.tensor([[vocabulary.text_empty] + [vocabulary.audio_empty] * config.num_codebooks])
