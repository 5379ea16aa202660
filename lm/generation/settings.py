"""GenerationSettings: options of `AudioLM.generate`.

Shapes: `B` batch, `L` rows of a prompt, `K` codebooks.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from .prompts import Kind
from .sampling import AUDIO_SAMPLING, TEXT_SAMPLING, SamplingConfig
from .stopping_criteria import DEFAULT_LIMITS, RepetitionLimits


@dataclass(frozen=True)
class LengthBounds:
    """Minimum and maximum length of the targets of one kind, for each prompt."""

    unit: str  # "frames" or "text_tokens"
    min_length: list[int]
    max_length: list[int]


@dataclass(frozen=True, kw_only=True)
class BeamSettings:
    """Options of beam search, see beam_search.py."""

    beams: int = 8
    # Share of CTC in the score; the rest is the backbone's. Defaults were chosen on validation
    # clips (docs/lab/language_model.md).
    ctc_share: float = 0.5
    # Added to the score for every id, because longer texts are less likely; by default 0.5, plus
    # 2.5 times lm_weight.
    length_bonus: float | None = None
    # Weight of the log-probability of the text without the audio (shallow fusion), for models that
    # were trained on texts without audio.
    lm_weight: float = 0.0
    # Consecutive prompts that are views of one recording (beam_search.py). Limits, seeds and
    # results are per recording.
    views: int = 1

    def __post_init__(self) -> None:
        if self.views < 1:
            raise ValueError(f"views must be at least 1, got {self.views}")
        if self.beams < 1:
            raise ValueError(f"beams must be at least 1, got {self.beams}")
        if not 0 <= self.ctc_share <= 1:
            raise ValueError(f"ctc_share must be in [0, 1], got {self.ctc_share}")
        if not self.lm_weight >= 0:
            raise ValueError(f"lm_weight must be 0 or more, got {self.lm_weight}")

    @property
    def bonus(self) -> float:
        """Score of every id."""
        return 0.5 + 2.5 * self.lm_weight if self.length_bonus is None else self.length_bonus


@dataclass(frozen=True, kw_only=True)
class GenerationSettings:
    """Options of :meth:`AudioLM.generate`.

    Lengths are for all prompts, or a list with one for each.
    """

    # Expected kind of target, for all prompts or for each; checked if given.
    target: Kind | Sequence[Kind] | None = None
    # End token of texts; by default the backbone's.
    eos_id: int | None = None
    audio_sampling: SamplingConfig | Sequence[SamplingConfig] = AUDIO_SAMPLING  # one, or K
    text_sampling: SamplingConfig = TEXT_SAMPLING
    # Row i of the batch has `seed + i`; None draws a seed from torch's default generator.
    seed: int | None = 0
    # Instead, a seed for each row.
    seeds: Sequence[int] | None = None
    # Scale of classifier-free guidance; 1 is off.
    guidance_scale: float = 1.0
    # Prompts without conditions `[B, L, 1+K]` for guidance; by default made of `input_ids`.
    unconditional_ids: Tensor | None = None
    unconditional_mask: Tensor | None = None  # [B, L]
    # Minimum and maximum number of new frames or ids; the prefix of a target does not count.
    min_frames: int | Sequence[int] = 1
    max_frames: int | Sequence[int] = 750
    min_text_tokens: int | Sequence[int] = 0
    max_text_tokens: int | Sequence[int] = 512
    forbidden_text_ids: Sequence[int] = ()  # never generated
    # "static" cache, written in place, or the "dynamic" one of transformers; same results. For a
    # backbone with sliding windows it is always "dynamic".
    cache: Literal["static", "dynamic"] = "static"
    # Compile the step of the backbone, and heads and sampling of a row as one function, once for
    # each batch size (minutes on a small machine); finished rows stay in the batch. Mainly for
    # GPUs: on a CPU it does without packed weights (core/linear.py).
    compile: bool = False
    guards: RepetitionLimits | None = DEFAULT_LIMITS  # ends repetitive rows; None: never
    # Adapter of all rows, or of each row; None: the active adapter, "__base__": none.
    adapter_names: str | Sequence[str | None] | None = None
    # Beam search for transcripts, for models trained with CTC.
    beam: BeamSettings | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.guidance_scale < math.inf:
            raise ValueError(
                f"guidance_scale must be 0 or more (1 is off) and finite, got {self.guidance_scale}"
            )
        if self.compile and any(name is not None for name in self.adapter_names or ()):
            raise ValueError("compile=True does not support adapter_names: call use_adapter")
        if self.beam is not None and (self.guidance_scale != 1 or self.compile):
            raise ValueError("beam search supports neither guidance nor compile=True")

    def bounds(self, kind: Kind, count: int) -> LengthBounds:
        """Return the bounds of `count` prompts for one kind of target."""
        if kind == "audio":
            unit, least, most = "frames", self.min_frames, self.max_frames
        else:
            unit, least, most = "text_tokens", self.min_text_tokens, self.max_text_tokens
        return LengthBounds(
            unit, _each(least, f"min_{unit}", count), _each(most, f"max_{unit}", count)
        )

    def seeds_of(self, count: int) -> list[int]:
        """Return the seeds of `count` rows."""
        if self.seeds is not None:
            if len(self.seeds) != count:
                raise ValueError(
                    f"seeds must be {count}, one for each prompt, got {len(self.seeds)}"
                )
            return [int(seed) for seed in self.seeds]
        first = int(torch.randint(1 << 31, ())) if self.seed is None else self.seed
        return [first + row for row in range(count)]


def _each(value: int | Sequence[int], name: str, count: int) -> list[int]:
    if isinstance(value, int):
        return [value] * count
    if len(value) != count:
        raise ValueError(f"{name} must be one number or {count}, got {len(value)}")
    return [int(item) for item in value]
