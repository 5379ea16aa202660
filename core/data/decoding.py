"""Decode entries in threads, measure their level, and report those that are skipped."""

from __future__ import annotations

import collections
import math
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from ..audio import AudioError, Waveform
from .entries import AudioEntry, EntryReader

T = TypeVar("T")

FRAME_SECONDS = 0.05
# Frames this far below the loudest are pauses, which must not lower the level of speech.
ACTIVE_RANGE_DB = 30.0
FLOOR_DBFS = -140.0
# Limits of `normalize_loudness`: gain, and peak after the gain.
MAX_GAIN_DB = 30.0
PEAK_LIMIT = 0.99
# Excerpts may end so much after the end of their file.
MAX_OVERSHOOT_SECONDS = 0.5
REASONS = ("missing", "empty", "truncated", "corrupt", "nan", "silent", "too_short", "too_long")


@dataclass(frozen=True)
class Skipped:
    """A clip that cannot be used."""

    id: str
    reason: str  # one of REASONS
    detail: str


@dataclass(frozen=True)
class SkipReport:
    """All clips that a scan skipped.

    Example:
        >>> SkipReport((Skipped("a.wav", "silent", "loudest 50 ms at -80 dBFS"),)).summary()
        '1 silent'
    """

    items: tuple[Skipped, ...] = ()

    def __len__(self) -> int:
        return len(self.items)

    @property
    def counts(self) -> dict[str, int]:
        """Clips per reason, only reasons that occurred."""
        found = collections.Counter(item.reason for item in self.items)
        return {reason: found[reason] for reason in REASONS if found[reason]}

    def summary(self) -> str:
        """One line: ``2 corrupt, 1 silent``."""
        return ", ".join(f"{count} {reason}" for reason, count in self.counts.items()) or "none"

    def listing(self, limit: int = 20) -> str:
        """One line per clip, for the first ``limit`` clips."""
        lines = [f"{item.reason:9} {item.id}: {item.detail}" for item in self.items[:limit]]
        if len(self.items) > limit:
            lines.append(f"... and {len(self.items) - limit} more")
        return "\n".join(lines)


@dataclass(frozen=True)
class Levels:
    """RMS levels in dB of full scale; digital silence is -140."""

    loudest_dbfs: float  # of the loudest 50 ms frame
    active_dbfs: float  # of all active frames


def measure_levels(wav: Waveform, sample_rate: int) -> Levels:
    """RMS levels of the 50 ms frames of a waveform [S] with at least one sample.

    Example:
        >>> measure_levels(np.full(24000, 0.1, np.float32), 24000)
        Levels(loudest_dbfs=-20.0, active_dbfs=-20.0)
    """
    frame = max(1, min(len(wav), round(FRAME_SECONDS * sample_rate)))
    squares = np.square(wav, dtype=np.float64)
    power = np.add.reduceat(squares, np.arange(0, len(wav), frame)) / frame  # [frames]
    active = power[power >= power.max() * 10 ** (-ACTIVE_RANGE_DB / 10)]
    return Levels(_decibels(power.max()), _decibels(active.mean()))


def _decibels(power: float) -> float:
    return round(10 * math.log10(max(float(power), 10 ** (FLOOR_DBFS / 10))), 3)


def normalize_loudness(level_dbfs: float, wav: Waveform, active_dbfs: float) -> Waveform:
    """Scale a waveform [S] to a level, by at most 30 dB and up to a peak of 0.99.

    Args:
        level_dbfs: Target RMS level of the active frames.
        wav: With at least one sample that is not 0.
        active_dbfs: Current RMS level of the active frames, from :func:`measure_levels`.
    """
    gain = 10 ** (min(level_dbfs - active_dbfs, MAX_GAIN_DB) / 20)
    peak = float(np.abs(wav).max()) * gain
    return wav * np.float32(gain * min(1.0, PEAK_LIMIT / peak))


def check_waveform(
    wav: Waveform,
    sample_rate: int,
    *,
    min_seconds: float,
    silence_dbfs: float,
    max_seconds: float | None = None,
) -> Levels:
    """Measure a waveform [S] and check its length and level.

    Args:
        wav: Mono, at least one sample.
        sample_rate: In Hz.
        min_seconds: Shorter waveforms are ``too_short``.
        silence_dbfs: Waveforms whose loudest 50 ms lie below this RMS level are ``silent``.
        max_seconds: Longer waveforms are ``too_long``.

    Raises:
        AudioError: A check failed; its reason is one of the above.
    """
    seconds = len(wav) / sample_rate
    if seconds < min_seconds:
        raise AudioError("too_short", f"{seconds:.3f} s, must be at least {min_seconds} s")
    if max_seconds is not None and seconds > max_seconds:
        raise AudioError("too_long", f"{seconds:.3f} s, must be at most {max_seconds} s")
    levels = measure_levels(wav, sample_rate)
    if levels.loudest_dbfs < silence_dbfs:
        detail = f"loudest 50 ms at {levels.loudest_dbfs:.0f} dBFS, at least {silence_dbfs}"
        raise AudioError("silent", detail)
    return levels


def check_excerpt(wav: Waveform, sample_rate: int, seconds: float | None) -> None:
    """Check that a file was long enough for an excerpt, which its text belongs to.

    Args:
        wav: The excerpt [S].
        sample_rate: In Hz.
        seconds: Length that was to be read; None for all of a file.

    Raises:
        AudioError: The file ends more than 0.5 s earlier, as in Kaldi.
    """
    read = len(wav) / sample_rate
    if seconds is not None and read < seconds - MAX_OVERSHOOT_SECONDS:
        raise AudioError("too_short", f"the file ends after {read:.3f} s of {seconds:.3f} s")


def decode_entries(
    entries: Iterable[AudioEntry],
    decode: Callable[[AudioEntry, str | bytes | AudioError], T],
    threads: int,
) -> Iterator[T]:
    """Yield ``decode(entry, content)`` for each entry, in order, computed ahead in threads.

    Rows of Parquet are fetched in the calling thread, in order, so that each row group is read
    once; the threads only decode (soundfile and soxr release the interpreter lock).

    Args:
        entries: In the order of the results.
        decode: Called with the path or the encoded bytes of the audio, or with the AudioError
            if it could not be read (such as a damaged Parquet file).
        threads: Number of threads.
    """
    reader = EntryReader()
    with ThreadPoolExecutor(threads, "decode") as pool:
        pending: collections.deque[Future[T]] = collections.deque()
        for entry in entries:
            content: str | bytes | AudioError
            try:
                content = reader.open(entry)
            except AudioError as error:
                content = error
            except (OSError, ValueError) as error:
                content = AudioError("corrupt", f"{entry.path}: {error}")
            pending.append(pool.submit(decode, entry, content))
            if len(pending) > 2 * threads:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
