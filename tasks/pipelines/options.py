"""Options of generation, for all pipelines. Free of torch: the command line builds them first."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class GenerationOptions:
    """Sampling, guidance, search and lengths; None keeps the default of the task.

    Attributes:
        temperature: 0 is greedy.
        top_k: sample among the K most likely; 0 is off.
        top_p: sample among the most likely of total probability P.
        repetition_penalty: 1 is off.
        guidance_scale: strength of classifier-free guidance; 1 is off.
        max_seconds: longest generated audio in seconds.
        min_seconds: shortest generated audio in seconds.
        redraws: how often sound and music that are nearly silent are drawn again.
        frames_per_query: `w`, the codec's default if None.
        language: language of spoken texts, the processor's default if None.
        beams: beams of the search for transcripts; 1 is off. Other tasks ignore it.
        lm_weight: weight of the text prior in beam search.
        views: shifted encodings of the audio in beam search.
        best_of: candidates for each sound or music prompt; the most likely description wins.
        batch_size: prompts per batch.
        compile: compile the model's step with torch.compile.
        check_by: input of the self-check: "sound" is the decoded waveform, "codes" the codes.
        max_chars: longest part of a text that is spoken at once; 160 are about 11 s of English.

    Raises:
        ValueError: for a value out of range.
    """

    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    repetition_penalty: float | None = None
    guidance_scale: float | None = None
    max_seconds: float | None = None
    min_seconds: float | None = None
    redraws: int = 3
    frames_per_query: int | None = None
    language: str | None = None
    beams: int | None = None
    lm_weight: float | None = None
    views: int | None = None
    best_of: int = 1
    batch_size: int = 8
    compile: bool = False
    check_by: str = "sound"
    max_chars: int = 160

    def __post_init__(self) -> None:
        for name in ("batch_size", "beams", "best_of", "views", "max_chars"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        if self.lm_weight is not None and not self.lm_weight >= 0:
            raise ValueError(f"lm_weight must be 0 or more, got {self.lm_weight}")
        if self.check_by not in ("sound", "codes"):
            raise ValueError(f"check_by must be 'sound' or 'codes', got {self.check_by!r}")
        if self.redraws < 0:
            raise ValueError(f"redraws must be 0 or more, got {self.redraws}")
        for name in ("max_seconds", "min_seconds"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise ValueError(f"{name} must be finite and positive, got {value}")

    @property
    def sampling(self) -> dict[str, float | int]:
        """The fields of a SamplingConfig that are not None."""
        names = ("temperature", "top_k", "top_p", "repetition_penalty")
        values = {name: getattr(self, name) for name in names}
        return {name: value for name, value in values.items() if value is not None}

    @property
    def facts(self) -> dict[str, Any]:
        """What results depend on, for logs; later options only if they are not the default.

        So batches and evaluations that were begun before there were such options are resumed.
        """
        values = {**dataclasses.asdict(self), "batch_size": None}
        for name in ("min_seconds", "redraws"):
            if values[name] == getattr(DEFAULT, name):
                del values[name]
        return values


DEFAULT = GenerationOptions()
