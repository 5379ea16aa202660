"""What a prompt of rows says by itself: what is to follow it, and with what that begins.

A prompt ends with the opening of its target, and after it the beginning of the target, if there is
one to be continued (`sequences.build_prompt`). So a batch of prompts needs no other description.

Letters: `B` batch, `L` rows of a prompt, `K` codebooks, `p` rows of the target's beginning.
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
    opening: int  # the row that opens the target
    stride: int  # rows of a frame of the target; 1 for text
    frames_per_query: int  # of every audio in it

    @property
    def prefix(self) -> Tensor:
        """The target's beginning: text ids `[p, 1]`, or audio rows `[p, K]`."""
        rows = self.rows[self.opening + 1 :]
        return rows[:, :1] if self.kind == "text" else rows[:, 1:]

    def __len__(self) -> int:
        return len(self.rows)


def read_prompts(
    input_ids: Tensor, attention_mask: Tensor | None, config: AudioLMConfig
) -> list[Prompt]:
    """Take a padded batch `[B, L, 1+K]` apart, whatever its side of padding.

    Raises:
        ValueError: for an empty batch, another number of streams, a mask of another shape, a prompt
            without rows or without an opening, and for one that the backbone has no positions for.
    """
    streams = 1 + config.num_codebooks
    if input_ids.ndim != 3 or input_ids.shape[-1] != streams:
        raise ValueError(f"input_ids must be rows [B, L, {streams}]; came {list(input_ids.shape)}")
    if not len(input_ids):
        raise ValueError("the batch is empty: expected at least one prompt, came input_ids of none")
    if attention_mask is None:
        attention_mask = torch.ones_like(input_ids[..., 0])
    if attention_mask.shape != input_ids.shape[:2]:
        raise ValueError(
            f"attention_mask must be {list(input_ids.shape[:2])}; came {list(attention_mask.shape)}"
        )
    return [
        _read(rows[mask.bool()], config, number)
        for number, (rows, mask) in enumerate(zip(input_ids, attention_mask, strict=True))
    ]


def without_condition(prompt: Prompt, config: AudioLMConfig) -> Prompt:
    """The same prompt with its conditions withheld, as in training with condition dropout."""
    vocabulary = Vocabulary(config)
    gap = prompt.rows[prompt.opening].clone()
    gap[0] = vocabulary.no_condition
    # The task and the rate stay: they are no conditions.
    rows = torch.cat([prompt.rows[:2], gap[None], prompt.rows[prompt.opening :]])
    return replace(prompt, rows=rows, opening=3)


def pad_left(prompts: list[Prompt], config: AudioLMConfig) -> tuple[Tensor, Tensor]:
    """One batch: rows `[B, L, 1+K]` and mask `[B, L]`, padding first."""
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
            f"prompt {number} opens no target: expected rows of build_prompt, whose last control "
            f"is open_text or open_audio; came {len(rows)} rows"
        )
    opening = int(places[-1])
    kind: Kind = "text" if int(rows[opening, 0]) == vocabulary.open_text else "audio"
    stride = layout(config).stride if kind == "audio" else 1
    rate = int(rows[1, 0]) - vocabulary.rate(1) + 1 if opening > 1 else 0
    if not 1 <= rate <= MAX_FRAMES_PER_QUERY:
        raise ValueError(
            f"prompt {number} does not begin with a task and a rate; expected rows of build_prompt"
        )
    prompt = Prompt(rows, kind, opening, stride, rate)
    if len(prompt.prefix) % stride:
        raise ValueError(
            f"the beginning in prompt {number} has {len(prompt.prefix)} rows; expected whole "
            f"frames of {stride}"
        )
    if len(rows) >= config.max_positions:
        raise ValueError(
            f"prompt {number} has {len(rows)} rows, and the backbone has {config.max_positions} "
            f"positions: nothing can follow it"
        )
    return prompt
