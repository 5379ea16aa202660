"""Prompts: rows -> the kind of their target, its prefix and its frame rate.

A prompt ends with the opening of its target and the prefix that is to be continued, if any
(`sequences.build_prompt`), so a batch of prompts needs no further description.

Shapes: `B` batch, `L` rows of a prompt, `K` codebooks, `P` rows of a prefix.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from ..config import MAX_FRAMES_PER_QUERY, AudioLMConfig
from ..patterns import layout
from ..vocabulary import Vocabulary

Kind = Literal["text", "audio"]


@dataclass(frozen=True)
class Prompt:
    """One prompt, without padding."""

    rows: Tensor  # [L, 1+K] int64
    kind: Kind  # of the target
    opening: int  # index of the row that opens the target
    stride: int  # rows per frame of the target; 1 for text
    frames_per_query: int  # of all its audio

    @property
    def prefix(self) -> Tensor:
        """Prefix of the target: text ids `[P, 1]`, or audio rows `[P, K]`."""
        rows = self.rows[self.opening + 1 :]
        return rows[:, :1] if self.kind == "text" else rows[:, 1:]

    def __len__(self) -> int:
        return len(self.rows)


def read_prompts(
    input_ids: Tensor, attention_mask: Tensor | None, config: AudioLMConfig
) -> list[Prompt]:
    """Split a batch `[B, L, 1+K]`, padded on either side, into prompts.

    Raises:
        ValueError: for an empty batch, a wrong shape of rows or mask, a prompt without an opening,
            or one that fills all positions of the backbone.
    """
    streams = 1 + config.num_codebooks
    if input_ids.ndim != 3 or input_ids.shape[-1] != streams:
        raise ValueError(f"input_ids must be rows [B, L, {streams}], got {list(input_ids.shape)}")
    if not len(input_ids):
        raise ValueError("input_ids must hold at least one prompt, got none")
    if attention_mask is None:
        attention_mask = torch.ones_like(input_ids[..., 0])
    if attention_mask.shape != input_ids.shape[:2]:
        raise ValueError(
            f"attention_mask must be {list(input_ids.shape[:2])}, got {list(attention_mask.shape)}"
        )
    return [
        _read(rows[mask.bool()], config, number)
        for number, (rows, mask) in enumerate(zip(input_ids, attention_mask, strict=True))
    ]


def task_names(prompts: list[Prompt], config: AudioLMConfig) -> list[str]:
    """Names of the tasks of prompts."""
    vocabulary = Vocabulary(config)
    names = {vocabulary.task(name): name for name in config.tasks}
    return [names.get(int(prompt.rows[0, 0]), "") for prompt in prompts]


def without_condition(prompt: Prompt, config: AudioLMConfig) -> Prompt:
    """The same prompt without its conditions, as in training with condition dropout."""
    vocabulary = Vocabulary(config)
    dropped = prompt.rows[prompt.opening].clone()
    dropped[0] = vocabulary.no_condition
    # Task and rate are not conditions and stay.
    rows = torch.cat([prompt.rows[:2], dropped[None], prompt.rows[prompt.opening :]])
    return replace(prompt, rows=rows, opening=3)


def pad_left(prompts: list[Prompt], config: AudioLMConfig) -> tuple[Tensor, Tensor]:
    """Collate with padding on the left: rows `[B, L, 1+K]` and mask `[B, L]`."""
    longest = max(len(prompt) for prompt in prompts)
    vocabulary = Vocabulary(config)
    first = prompts[0].rows
    rows = first.new_full((len(prompts), longest, first.shape[1]), vocabulary.audio_empty)
    rows[..., 0] = vocabulary.text_empty
    mask = first.new_zeros(len(prompts), longest)
    for number, prompt in enumerate(prompts):
        rows[number, longest - len(prompt) :] = prompt.rows
        mask[number, longest - len(prompt) :] = 1
    return rows, mask


def _read(rows: Tensor, config: AudioLMConfig, number: int) -> Prompt:
    vocabulary = Vocabulary(config)
    openings = (rows[:, 0] == vocabulary.open_text) | (rows[:, 0] == vocabulary.open_audio)
    places = openings.nonzero()
    if not len(places):
        raise ValueError(
            f"prompt {number} must have a row with open_text or open_audio (see build_prompt), got "
            f"{len(rows)} rows without one"
        )
    opening = int(places[-1])
    kind: Kind = "text" if int(rows[opening, 0]) == vocabulary.open_text else "audio"
    stride = layout(config).stride if kind == "audio" else 1
    rate = int(rows[1, 0]) - vocabulary.rate(1) + 1 if opening > 1 else 0
    if not 1 <= rate <= MAX_FRAMES_PER_QUERY:
        raise ValueError(
            f"prompt {number} must begin with a task and a rate (see build_prompt), got rate {rate}"
        )
    prompt = Prompt(rows, kind, opening, stride, rate)
    if len(prompt.prefix) % stride:
        raise ValueError(
            f"the prefix of prompt {number} must be whole frames of {stride} rows, got "
            f"{len(prompt.prefix)} rows"
        )
    if len(rows) >= config.max_positions:
        raise ValueError(
            f"prompt {number} must be shorter than the {config.max_positions} positions of the "
            f"backbone, got {len(rows)} rows"
        )
    return prompt
