"""16-bit mono PCM, with or without a WAV header, for audio that is sent while it is made."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np

from .audio import as_waveform

_FULL_SCALE = 32767


def pcm(wav: Any) -> bytes:
    """Samples `[S]` in [-1, 1] as 16-bit little-endian PCM; values outside are clipped."""
    samples = np.clip(as_waveform(wav), -1.0, 1.0)
    return np.round(samples * _FULL_SCALE).astype("<i2").tobytes()


def wav_header(sample_rate: int, samples: int | None, comment: str = "") -> bytes:
    """Header of a WAV file of 16-bit mono audio.

    Args:
        sample_rate: Hz.
        samples: number of samples that follow; None: unknown, and both sizes are the largest ones,
            which readers take for "to the end of the stream".
        comment: for the field ICMT of a LIST INFO chunk; "": no such chunk.
    """
    info = _info(comment) if comment else b""
    most = 0xFFFFFFFF - 36 - len(info)
    size = most if samples is None else 2 * samples
    return (
        b"RIFF" + struct.pack("<I", 36 + len(info) + size) + b"WAVEfmt "
        + struct.pack("<IHHIIHH", 16, 1, 1, sample_rate, 2 * sample_rate, 2, 16)
        + info + b"data" + struct.pack("<I", size)
    )  # fmt: skip


def _info(comment: str) -> bytes:
    """A LIST INFO chunk; texts end with a zero and have an even length."""
    text = comment.encode() + b"\0"
    text += b"\0" * (len(text) % 2)
    return b"LIST" + struct.pack("<I", 12 + len(text)) + b"INFOICMT" + struct.pack(
        "<I", len(text)
    ) + text  # fmt: skip
