"""A row of a token dataset, and its index; free of pyarrow for fast start-up."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ...codec.tokens import AudioTokens


@dataclass(frozen=True, slots=True)
class EpochIndex:
    """Index of an item in an epoch; random choices in a dataset depend on both."""

    epoch: int
    index: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenRow:
    """A clip as codes, with its metadata."""

    id: str
    codes: Tensor  # [K, Q] int64
    frames_per_query: int  # w, frames of 1/75 s per column
    num_samples: int  # of the waveform
    sample_rate: int  # Hz
    fingerprint: str  # of the codec
    text: str = ""
    speaker: str = ""
    language: str = ""
    domain: str = ""  # speech, sound, music
    split: str = ""
    duration: float = 0.0  # seconds
    companion: TokenRow | None = None  # another row of the same speaker, if requested and present
    draw: int = 0  # random number of this row in this epoch: seed for random choices of a task

    @property
    def tokens(self) -> AudioTokens:
        """The codes as input of the codec's decoder."""
        return AudioTokens(
            self.codes, self.frames_per_query, self.num_samples, self.sample_rate, self.fingerprint
        )
