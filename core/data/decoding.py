"""Decode entries in threads, measure their level, and report those that are skipped."""

from __future__ import annotations

import collections
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from ..audio import AudioError, Waveform
from ..levels import Levels, measure_levels
from .entries import AudioEntry, EntryReader

T = TypeVar("T")

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
