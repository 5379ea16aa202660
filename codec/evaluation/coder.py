"""What everything that is evaluated has in common: a waveform in, its reconstruction out.

Letters: S samples, K codebooks, Q positions.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Waveform = npt.NDArray[np.float32]


class CodecUnavailable(OSError):
    """A coder cannot be used here; the message says what is missing and how to get it."""


@dataclass(frozen=True)
class CodecResult:
    """One clip after a coder."""

    wav: Waveform  # [S], as long as the input and aligned with it
    codes: npt.NDArray[np.int64] | None  # [K, Q]; None for coders without codebooks
    bits: int  # that carry the clip
    encode_seconds: float
    decode_seconds: float


class EvaluatedCodec(ABC):
    """A codec under evaluation.

    Attributes:
        name: in tables and file names.
        sample_rate: of the waveforms that it takes and gives.
        kbps: nominal rate.
        frame_rate: positions per second, None without codebooks.
        codebook_size: entries per codebook, None without codebooks.
        external: runs as a program of its own, so that our memory says nothing about it.
    """

    name: str
    sample_rate: int
    kbps: float
    frame_rate: float | None = None
    codebook_size: int | None = None
    external: bool = False

    @abstractmethod
    def code(self, wav: Waveform) -> CodecResult:
        """Encode and decode one clip [S] at ``sample_rate``."""

    def release(self) -> None:  # noqa: B027  (most coders hold nothing)
        """Free what the coder holds in memory; it cannot code after this."""

    def settings(self) -> dict[str, str | int | float | None]:
        """What the results depend on: a resumed evaluation must find the same."""
        return {
            "name": self.name,
            "sample_rate": self.sample_rate,
            "kbps": round(self.kbps, 6),
            "frame_rate": self.frame_rate,
            "codebook_size": self.codebook_size,
        }


def fit_length(wav: npt.ArrayLike, length: int, *, delay: int = 0) -> Waveform:
    """Remove ``delay`` samples at the start, then cut or pad with zeros to ``length``."""
    samples = np.asarray(wav, dtype=np.float32)[delay : delay + length]
    return np.pad(samples, (0, length - samples.size))
