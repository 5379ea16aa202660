"""Recordings -> checked waveforms, decoded ahead by threads and gathered into buffers."""

from __future__ import annotations

import collections
import dataclasses
import hashlib
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from ...core.audio import AudioError, Waveform, read_audio, resample, speed_of
from ...core.data.loudness import measure_levels, normalize_loudness
from ...core.data.reader import EntryReader
from ...core.data.skipped import Skipped
from .config import TokenizeConfig
from .recordings import Recording

# Decoded past the longest allowed: enough to see that a file is longer.
_BEYOND_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Clip:
    """A recording that can be encoded."""

    place: int  # in the list that was given
    recording: Recording
    wav: Waveform  # [S]


@dataclass(frozen=True, slots=True)
class Rejected:
    """A recording that cannot be encoded, and why."""

    place: int
    skipped: Skipped


def buffers(
    recordings: Iterable[Recording], sample_rate: int, config: TokenizeConfig
) -> Iterator[list[Clip | Rejected]]:
    """Yield what the recordings hold, in order, about ``config.buffer_seconds`` at a time."""
    limit = config.buffer_seconds * sample_rate
    gathered: list[Clip | Rejected] = []
    samples = 0
    for item in _decoded(recordings, sample_rate, config):
        gathered.append(item)
        samples += len(item.wav) if isinstance(item, Clip) else 0
        if samples >= limit:
            yield gathered
            gathered, samples = [], 0
    if gathered:
        yield gathered


def ahead(
    recordings: Iterable[Recording], sample_rate: int, config: TokenizeConfig
) -> Iterator[list[Clip | Rejected]]:
    """As ``buffers``, with the next buffer decoded while the caller works on the last one."""
    source = buffers(recordings, sample_rate, config)
    with ThreadPoolExecutor(1, "buffers") as pool:
        following = pool.submit(next, source, None)
        while (buffer := following.result()) is not None:
            following = pool.submit(next, source, None)
            yield buffer


def _decoded(
    recordings: Iterable[Recording], sample_rate: int, config: TokenizeConfig
) -> Iterator[Clip | Rejected]:
    """Clips in order; rows of Parquet are fetched in order too, so each row group is read once."""
    reader = EntryReader()
    with ThreadPoolExecutor(config.threads, "decode") as pool:
        waiting: collections.deque[Future[Clip | Rejected]] = collections.deque()
        for place, recording in enumerate(recordings):
            content = _content(reader, recording)
            waiting.append(pool.submit(_check, place, recording, content, sample_rate, config))
            if len(waiting) > 2 * config.threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _content(reader: EntryReader, recording: Recording) -> str | bytes | AudioError:
    try:
        return reader.open(recording.entry)
    except AudioError as error:
        return error
    except (OSError, ValueError) as error:  # a Parquet file that is cut off: its rows are lost
        return AudioError("corrupt", f"{recording.entry.path}: {error}")


def _check(
    place: int,
    recording: Recording,
    content: str | bytes | AudioError,
    sample_rate: int,
    config: TokenizeConfig,
) -> Clip | Rejected:
    def reject(reason: str, detail: str) -> Rejected:
        return Rejected(place, Skipped(recording.id, reason, " ".join(detail.split())))

    most = config.max_seconds + _BEYOND_SECONDS
    wanted = most if recording.seconds is None else min(most, recording.seconds)
    try:
        if isinstance(content, AudioError):
            raise content
        wav = read_audio(content, sample_rate, start=recording.start, seconds=wanted)
    except AudioError as error:
        return reject(error.reason, error.detail)
    if config.vary:
        recording, wav = varied(recording, wav, config.vary, config.seed)
    seconds = len(wav) / sample_rate
    if seconds < config.min_seconds:
        return reject("too_short", f"{seconds:.3f} s, at least {config.min_seconds} s")
    if seconds > config.max_seconds:
        return reject("too_long", f"more than {config.max_seconds} s")
    levels = measure_levels(wav, sample_rate)
    if levels.loudest_dbfs < config.silence_dbfs:
        detail = f"loudest 50 ms at {levels.loudest_dbfs:.0f} dBFS, at least {config.silence_dbfs}"
        return reject("silent", detail)
    if config.loudness_dbfs is not None:
        wav = normalize_loudness(config.loudness_dbfs, wav, levels.active_dbfs)
    return Clip(place, recording, wav)


def varied(
    recording: Recording, wav: Waveform, vary: float, seed: int
) -> tuple[Recording, Waveform]:
    """The recording `[S]` played faster or slower, by a name of its own and nobody's voice.

    How fast is a function of the seed and the recording's id alone.
    """
    digest = hashlib.sha256(f"{seed} {recording.id}".encode()).digest()
    draw = np.random.default_rng(list(digest)).uniform(-1, 1)
    speed = speed_of(vary, draw)
    entry = dataclasses.replace(
        recording.entry, id=f"{recording.id}@{speed / 1000:.3f}", speaker=""
    )
    return dataclasses.replace(recording, entry=entry), resample(wav, speed, 1000)
