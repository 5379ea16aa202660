"""What a caller may say about generation: everything has the task's own default.

No torch here: the command line makes these before anything is loaded.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class GenerationOptions:
    """Sampling, guidance, lengths and rate; None leaves it to the task."""

    temperature: float | None = None  # 0: the likeliest always
    top_k: int | None = None
    top_p: float | None = None
    repetition_penalty: float | None = None
    guidance_scale: float | None = None  # 1 is off
    max_seconds: float | None = None  # of audio that is made
    frames_per_query: int | None = None  # w; the codec's own by default
    language: str | None = None  # of spoken texts; the processor's by default
    beams: int | None = None  # of transcripts (no other task has any); 1: written id by id
    lm_weight: float | None = None  # of beams: of how likely a text is where nothing is heard
    views: int | None = None  # of beams: encodings of an audio, each with windows of its own
    best_of: int = 1  # sounds of each description; kept is the one that the model would describe so
    batch_size: int = 8  # prompts at once
    compile: bool = False  # the model's step: minutes once, less for every step
    check_by: str = "sound"  # what a self-check listens to; "codes": reads them, decodes nothing
    max_chars: int = 160  # of a text that is spoken in one go: about 11 s of English

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise ValueError(f"batch_size must be at least 1; came {self.batch_size}")
        if self.beams is not None and self.beams < 1:
            raise ValueError(f"beams must be at least 1; came {self.beams}")
        if self.best_of < 1:
            raise ValueError(f"best_of must be at least 1; came {self.best_of}")
        if self.views is not None and self.views < 1:
            raise ValueError(f"views must be at least 1; came {self.views}")
        if self.lm_weight is not None and not self.lm_weight >= 0:
            raise ValueError(f"lm_weight must be 0 or more; came {self.lm_weight}")
        if self.check_by not in ("sound", "codes"):
            raise ValueError(f"check_by must be 'sound' or 'codes'; came {self.check_by!r}")
        if self.max_chars < 1:
            raise ValueError(f"max_chars must be at least 1; came {self.max_chars}")
        if self.max_seconds is not None and not self.max_seconds > 0:
            raise ValueError(f"max_seconds must be positive; came {self.max_seconds}")

    @property
    def sampling(self) -> dict[str, float | int]:
        """Fields of a SamplingConfig that are given."""
        names = ("temperature", "top_k", "top_p", "repetition_penalty")
        values = {name: getattr(self, name) for name in names}
        return {name: value for name, value in values.items() if value is not None}


DEFAULT = GenerationOptions()
