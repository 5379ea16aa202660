"""One row of tokens, as tasks see it."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ...codec.tokens import AudioTokens


@dataclass(frozen=True, slots=True)
class Pick:
    """Which item, in which epoch: all that a random choice in a dataset may depend on."""

    epoch: int
    index: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenRow:
    """One recording as codes, and what is known about it."""

    id: str
    codes: Tensor  # [K, Q] int64
    frames_per_query: int  # w
    num_samples: int  # length of the waveform
    sample_rate: int  # Hz
    fingerprint: str  # of the codec
    text: str = ""
    speaker: str = ""
    language: str = ""
    domain: str = ""  # speech, sound, music
    split: str = ""
    duration: float = 0.0  # seconds
    # Another recording of the same speaker, where one was asked for and there is one.
    companion: TokenRow | None = None
    # A random number of this row in this epoch: whatever a task draws, it draws from it.
    draw: int = 0

    @property
    def tokens(self) -> AudioTokens:
        """What the codec decodes."""
        return AudioTokens(
            self.codes, self.frames_per_query, self.num_samples, self.sample_rate, self.fingerprint
        )
