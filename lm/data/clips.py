"""Entries -> checked waveforms, decoded in threads and gathered into buffers."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from ...core.audio import AudioError, Waveform, read_audio, resample, speed_factor
from ...core.data.augment import Scene, augment
from ...core.data.decoding import (
    Skipped,
    check_excerpt,
    check_waveform,
    decode_entries,
)
from ...core.data.entries import AudioEntry
from ...core.levels import normalize_loudness
from .config import TokenizeConfig

# Decoded beyond the maximum length, to detect that a file is longer.
_MARGIN_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class DecodedClip:
    """A clip that can be encoded."""

    place: int  # index in the list of entries
    entry: AudioEntry
    wav: Waveform  # [S]


@dataclass(frozen=True, slots=True)
class RejectedClip:
    """A clip that cannot be encoded, and why."""

    place: int  # index in the list of entries
    skipped: Skipped


def decode_buffers(
    entries: Iterable[AudioEntry], sample_rate: int, config: TokenizeConfig
) -> Iterator[list[DecodedClip | RejectedClip]]:
    """Yield the clips in order, about ``config.buffer_seconds`` of audio at a time."""
    limit = config.buffer_seconds * sample_rate
    buffer: list[DecodedClip | RejectedClip] = []
    samples = 0
    results = decode_entries(
        entries, lambda entry, content: _decode(entry, content, sample_rate, config), config.threads
    )
    for place, result in enumerate(results):
        if isinstance(result, Skipped):
            buffer.append(RejectedClip(place, result))
        else:
            buffer.append(DecodedClip(place, *result))
            samples += len(result[1])
        if samples >= limit:
            yield buffer
            buffer, samples = [], 0
    if buffer:
        yield buffer


def prefetch_buffers(
    entries: Iterable[AudioEntry], sample_rate: int, config: TokenizeConfig
) -> Iterator[list[DecodedClip | RejectedClip]]:
    """As ``decode_buffers``; the next buffer is decoded while the caller uses the current one."""
    source = decode_buffers(entries, sample_rate, config)
    with ThreadPoolExecutor(1, "buffers") as pool:
        following = pool.submit(next, source, None)
        while (buffer := following.result()) is not None:
            following = pool.submit(next, source, None)
            yield buffer


def _decode(
    entry: AudioEntry, content: str | bytes | AudioError, sample_rate: int, config: TokenizeConfig
) -> Skipped | tuple[AudioEntry, Waveform]:
    """The entry and waveform [S] of a usable clip, or why it is not usable."""
    longest = config.max_seconds + _MARGIN_SECONDS
    seconds = longest if entry.seconds is None else min(longest, entry.seconds)
    try:
        if isinstance(content, AudioError):
            raise content
        wav = read_audio(
            content, sample_rate, start=entry.start, seconds=seconds, allow_truncated=False
        )
        check_excerpt(wav, sample_rate, None if entry.seconds is None else seconds)
        if config.vary:
            entry, wav = perturb_speed(entry, wav, config.vary, config.seed)
        if config.augment:
            entry, wav = augment_clip(entry, wav, sample_rate, config)
        levels = check_waveform(
            wav,
            sample_rate,
            min_seconds=config.min_seconds,
            max_seconds=config.max_seconds,
            silence_dbfs=config.silence_dbfs,
        )
    except AudioError as error:
        return Skipped(entry.id, error.reason, " ".join(error.detail.split()))
    if config.loudness_dbfs is not None:
        wav = normalize_loudness(config.loudness_dbfs, wav, levels.active_dbfs)
    return entry, wav


def perturb_speed(
    entry: AudioEntry, wav: Waveform, vary: float, seed: int
) -> tuple[AudioEntry, Waveform]:
    """Play a clip [S] faster or slower; the new entry has an id of its own and no speaker.

    The speed depends on the seed and the entry's id only.
    """
    speed = speed_factor(vary, _generator(seed, entry.id).uniform(-1, 1))
    entry = dataclasses.replace(entry, id=f"{entry.id}@{speed / 1000:.3f}", speaker="")
    return entry, resample(wav, speed, 1000)


def augment_clip(
    entry: AudioEntry, wav: Waveform, sample_rate: int, config: TokenizeConfig
) -> tuple[AudioEntry, Waveform]:
    """Augment a clip [S] by ``config.augment``; the new entry has an id of its own.

    The result depends on the seed and the entry's id only.
    """
    scene, rng = Scene(sample_rate), _generator(config.seed, f"augment {entry.id}")
    entry = dataclasses.replace(entry, id=f"{entry.id}~{config.seed}")
    return entry, augment(wav, config.augment, scene, rng)


def _generator(seed: int, name: str) -> np.random.Generator:
    digest = hashlib.sha256(f"{seed} {name}".encode()).digest()
    return np.random.default_rng(list(digest))
