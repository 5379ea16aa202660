"""How a batch is generated: limits, sampling, guidance, seeds, as one record.

Letters: `B` batch, `L` rows of a prompt, `K` codebooks.
"""

from __future__ import annotations

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
    """How long the targets of one kind may be, for each prompt."""

    unit: str  # "frames" or "text_tokens"
    least: list[int]
    most: list[int]


@dataclass(frozen=True, kw_only=True)
class BeamSettings:
    """How beams are searched for a transcript, see beam.py."""

    beams: int = 8
    # Of the score: CTC's share, the rest is the backbone's; and what every id adds, because longer
    # texts are less likely. Chosen on validation clips (docs/lab/language_model.md).
    ctc_share: float = 0.5
    length_bonus: float | None = None  # by default 0.5, and 2.5 for every 1 of lm_weight
    # Added to the score: so many times the log-probability of the text for the same model when it
    # hears nothing. For models that learned texts of no recording; 0 asks it nothing.
    lm_weight: float = 0.0
    # So many prompts in a row are views of one recording (beam.py) and have one text: limits, seeds
    # and results are one for each recording.
    views: int = 1

    def __post_init__(self) -> None:
        if self.views < 1:
            raise ValueError(f"views must be at least 1; came {self.views}")
        if self.beams < 1:
            raise ValueError(f"beams must be at least 1; came {self.beams}")
        if not 0 <= self.ctc_share <= 1:
            raise ValueError(f"ctc_share must be 0 to 1; came {self.ctc_share}")
        if not self.lm_weight >= 0:
            raise ValueError(f"lm_weight must be 0 or more; came {self.lm_weight}")

    @property
    def bonus(self) -> float:
        """What every id adds."""
        return 0.5 + 2.5 * self.lm_weight if self.length_bonus is None else self.length_bonus


@dataclass(frozen=True, kw_only=True)
class GenerationSettings:
    """Every option of :func:`generate` beside its prompts.

    Bounds are for all prompts or one for each.
    """

    # What is expected to follow, one for all or one for each prompt; checked if given.
    target: Kind | Sequence[Kind] | None = None
    # The text's end; by default the backbone's own.
    eos_id: int | None = None
    audio_sampling: SamplingConfig | Sequence[SamplingConfig] = AUDIO_SAMPLING  # one, or K
    text_sampling: SamplingConfig = TEXT_SAMPLING
    # Row i of the batch has `seed + i`; None takes one from torch's own generator.
    seed: int | None = 0
    # One for each row, instead: a row's result depends on its own seed only.
    seeds: Sequence[int] | None = None
    # 1 is off; above 1, logits go away from those of the prompt without condition, by this factor.
    guidance_scale: float = 1.0
    # Prompts `[B, L, 1+K]` for that; by default the same with their conditions withheld.
    unconditional_ids: Tensor | None = None
    unconditional_mask: Tensor | None = None  # [B, L]
    # New frames of audio before which no end is chosen, and after which it is forced, and reported.
    min_frames: int | Sequence[int] = 1
    max_frames: int | Sequence[int] = 750
    min_text_tokens: int | Sequence[int] = 0
    max_text_tokens: int | Sequence[int] = 512
    forbidden_text_ids: Sequence[int] = ()  # never chosen
    # "static" memory, written in place, or transformers' "dynamic" one; same results. A backbone
    # with windowed layers always takes transformers' own.
    cache: Literal["static", "dynamic"] = "static"
    # Compile the backbone's step, and the heads with all choices of a row as one function, once for
    # each size of batch: minutes on a small machine, and rows that are complete stay in the batch.
    # For GPUs first of all: on a CPU it gives up the packed weights (core/linear.py).
    compile: bool = False
    guards: RepetitionLimits | None = DEFAULT_LIMITS  # against run-aways; None for none
    # Search whole transcripts instead of choosing id by id; for a model trained with CTC.
    beam: BeamSettings | None = None

    def __post_init__(self) -> None:
        if not self.guidance_scale >= 0:
            raise ValueError(
                f"guidance_scale must be 0 or more (1 is off); came {self.guidance_scale}"
            )
        if self.beam is not None and (self.guidance_scale != 1 or self.compile):
            raise ValueError("beams go neither with guidance nor with compile=True")

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
                    f"expected {count} seeds, one for each prompt; came {len(self.seeds)}"
                )
            return [int(one) for one in self.seeds]
        first = int(torch.randint(1 << 31, ())) if self.seed is None else self.seed
        return [first + row for row in range(count)]


def _each(value: int | Sequence[int], name: str, count: int) -> list[int]:
    if isinstance(value, int):
        return [value] * count
    if len(value) != count:
        raise ValueError(f"expected one {name}, or {count}; came {len(value)}")
    return [int(one) for one in value]
