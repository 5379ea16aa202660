"""Limits of what a visitor of the page may send, and the reading of uploaded audio."""

from __future__ import annotations

from pathlib import Path

from ...core.audio import Waveform, read_audio

MAX_UPLOAD_BYTES = 50 * 2**20
MAX_WAITING = 16  # jobs in the queue; further ones are refused
MAX_TEXT = 5_000  # characters to speak
MAX_PROMPT = 500  # characters of a description
MAX_SPEECH_SECONDS = 600.0  # of a file to transcribe
MAX_CLIP_SECONDS = 60.0  # of a file for the codec, and of a voice reference
MAX_TEST_SECONDS = 30.0  # of a clip of a listening test


def checked_text(text: str | None, limit: int, what: str) -> str:
    """The text without spaces around it.

    Raises:
        ValueError: it is empty or has more than `limit` characters.
    """
    text = (text or "").strip()
    if not text:
        raise ValueError(f"The {what} is empty: write something first.")
    if len(text) > limit:
        raise ValueError(f"The {what} has {len(text)} characters, at most {limit} are accepted.")
    return text


def checked_seed(seed: float | None) -> int:
    """The seed as an integer.

    Raises:
        ValueError: it is missing, negative, not whole or above 2^31.
    """
    if seed is None or seed != int(seed) or not 0 <= seed < 2**31:
        raise ValueError(f"The seed must be a whole number from 0 to 2147483647, got {seed}.")
    return int(seed)


def read_upload(path: str | None, sample_rate: int, max_seconds: float) -> Waveform:
    """Read an uploaded or recorded file: samples [S] at `sample_rate` Hz.

    Raises:
        ValueError: there is no file, it cannot be read, or it has more than `max_seconds` s or
            ``MAX_UPLOAD_BYTES`` bytes.
    """
    if not path:
        raise ValueError("There is no audio: choose a file or record something first.")
    size = Path(path).stat().st_size
    if size > MAX_UPLOAD_BYTES:
        raise ValueError(
            f"The file has {size / 2**20:.0f} MiB; at most {MAX_UPLOAD_BYTES // 2**20} MiB are"
            " accepted."
        )
    wav = read_audio(path, sample_rate, seconds=max_seconds + 1.0)
    if len(wav) > max_seconds * sample_rate:
        raise ValueError(f"The audio is longer than {max_seconds:.0f} s: cut it.")
    return wav
