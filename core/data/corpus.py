"""All usable clips of some sources, decoded once, readable at random."""

import collections
import hashlib
import itertools
import json
import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from ..audio import AudioError, Waveform, read_audio
from ..files import write_json
from .config import DataConfig
from .loudness import measure_levels
from .reader import EntryReader
from .shards import (
    PCM,
    Found,
    Shard,
    ShardWriter,
    finished_shards,
    from_pcm,
    locked,
    pcm_path,
)
from .skipped import Skipped, SkipReport
from .sources import Entry, list_entries

logger = logging.getLogger(__name__)

# Part of the cache key: raise it when the meaning of the cached bytes changes.
_CACHE_VERSION = 1
# A shard ends after so many entries even when it holds little PCM.
_SHARD_ENTRIES = 1024


@dataclass(frozen=True, slots=True)
class Clip:
    """One usable clip."""

    id: str
    domain: str
    num_samples: int  # at the corpus's sample rate
    level_dbfs: float  # RMS of the active frames
    text: str
    speaker: str
    language: str
    entry: Entry
    scale: float
    shard: int
    offset: int


class AudioCorpus:
    """Usable clips and the samples behind them; made by ``AudioCorpus.scan``.

    It can be sent to worker processes: memory maps and files are opened again there.
    """

    def __init__(
        self,
        clips: Sequence[Clip],
        skipped: SkipReport,
        *,
        sample_rate: int,
        fingerprint: str,
        pcm_folder: Path | None,
    ) -> None:
        self.clips = tuple(clips)
        self.skipped = skipped
        self.sample_rate = sample_rate
        self.fingerprint = fingerprint  # changes with the sources and with how they are checked
        self._pcm_folder = pcm_folder
        self._reader = EntryReader()
        self._maps: dict[int, np.memmap[Any, Any]] = {}

    @classmethod
    def scan(
        cls,
        sources: Sequence[str | os.PathLike[str]],
        config: DataConfig | None = None,
        cache_dir: str | os.PathLike[str] | None = None,
        *,
        progress: bool = True,
    ) -> "AudioCorpus":
        """Decode and check every clip once; a later call only reads the index.

        Args:
            sources: As in ``sources.py``: folders, manifests, Parquet, ``hf:NAME:SPLIT``.
            config: How clips are checked.
            cache_dir: Where decoded audio is kept; a scan that was killed goes on from there. None
                keeps nothing: every crop is then decoded from its file.
            progress: Show a progress bar.

        Raises:
            ValueError: No clip is usable, with the counts of why; or a source does not exist.
        """
        config = config or DataConfig()
        entries = list_entries(sources)
        key = _cache_key(entries, config)
        folder = None if cache_dir is None else Path(cache_dir) / key
        if folder is None:
            shards = _scan_shards(entries, config, None, progress)
        else:
            folder.mkdir(parents=True, exist_ok=True)
            with locked(folder):
                shards = _scan_shards(entries, config, folder, progress)
        skipped = SkipReport(tuple(item for shard in shards for item in shard.skipped))
        _tell_skipped(skipped, len(entries), folder)
        clips = [
            _clip(entries[found.entry], found, shard.number)
            for shard in shards
            for found in shard.found
        ]
        return cls(
            clips,
            skipped,
            sample_rate=config.sample_rate,
            fingerprint=key,
            pcm_folder=folder if config.cache_pcm else None,
        )

    def __len__(self) -> int:
        return len(self.clips)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_maps": {}}

    @property
    def domains(self) -> tuple[str, ...]:
        """Domains that occur, sorted."""
        return tuple(sorted({clip.domain for clip in self.clips}))

    def seconds(self, domain: str | None = None) -> float:
        """Duration of all clips, or of those of one domain."""
        samples = sum(c.num_samples for c in self.clips if domain in (None, c.domain))
        return samples / self.sample_rate

    def read(self, clip: Clip, start: int = 0, count: int | None = None) -> Waveform:
        """Samples ``start .. start + count`` of a clip, by default the whole of it.

        Args:
            clip: One of ``self.clips``.
            start: First sample.
            count: Number of samples; None or too many reads to the end.

        Returns:
            Float32 [count], own memory, at most 1.0 in size.
        """
        if not 0 <= start < clip.num_samples or (count is not None and count < 1):
            raise ValueError(
                f"{clip.id} has {clip.num_samples} samples, asked for {count} from {start} on"
            )
        stop = clip.num_samples if count is None else min(clip.num_samples, start + count)
        if self._pcm_folder is not None:
            return from_pcm(self._map(clip.shard)[clip.offset + start : clip.offset + stop])
        wav = read_audio(
            self._reader.open(clip.entry),
            self.sample_rate,
            start=start / self.sample_rate,
            seconds=(stop - start) / self.sample_rate,
        )
        result = np.zeros(stop - start, np.float32)  # a lossy file may end some samples early
        result[: len(wav)] = wav * np.float32(clip.scale)
        return result

    def select(
        self,
        *,
        domain: str | None = None,
        limit: int | None = None,
        max_seconds: float | None = None,
        seed: int = 0,
    ) -> list[Clip]:
        """Some clips for evaluation, drawn by the seed, in the order of the corpus.

        Args:
            domain: Only this domain.
            limit: At most so many.
            max_seconds: Only clips up to this length.
            seed: Of the draw.
        """
        longest = float("inf") if max_seconds is None else max_seconds * self.sample_rate
        places = [
            place
            for place, clip in enumerate(self.clips)
            if domain in (None, clip.domain) and clip.num_samples <= longest
        ]
        if limit is not None and limit < len(places):
            chosen = np.random.default_rng(seed).permutation(len(places))[:limit]
            places = sorted(places[number] for number in chosen)
        return [self.clips[place] for place in places]

    def summary(self) -> str:
        """Clips and minutes per domain, and what was skipped; a few lines."""
        lines = []
        for domain in self.domains:
            count = sum(clip.domain == domain for clip in self.clips)
            lines.append(f"{domain}: {count} clips, {self.seconds(domain) / 60:.1f} min")
        return "\n".join([*lines, f"skipped: {self.skipped.summary()}"])

    def _map(self, shard: int) -> "np.memmap[Any, Any]":
        if shard not in self._maps:
            assert self._pcm_folder is not None
            self._maps[shard] = np.memmap(pcm_path(self._pcm_folder, shard), dtype=PCM, mode="r")
        return self._maps[shard]


def _clip(entry: Entry, found: Found, shard: int) -> Clip:
    return Clip(
        id=entry.id,
        domain=entry.domain,
        num_samples=found.num_samples,
        level_dbfs=found.level_dbfs,
        text=entry.text,
        speaker=entry.speaker,
        language=entry.language,
        entry=entry,
        scale=found.scale,
        shard=shard,
        offset=found.offset,
    )


def _cache_key(entries: Sequence[Entry], config: DataConfig) -> str:
    """Hash of everything that the scan's result depends on."""
    digest = hashlib.sha256()
    options = [
        _CACHE_VERSION,
        config.sample_rate,
        config.min_seconds,
        config.silence_dbfs,
        config.cache_pcm,
        config.shard_mebibytes,
    ]
    digest.update(json.dumps(options).encode())
    for entry in entries:
        digest.update(json.dumps(entry.identity()).encode())
    return digest.hexdigest()[:16]


def _tell_skipped(skipped: SkipReport, total: int, folder: Path | None) -> None:
    """Say and list what was left out; stop when nothing is left."""
    where = ""
    if skipped.items and folder is not None:
        path = folder / "skipped.json"
        write_json(path, [[item.id, item.reason, item.detail] for item in skipped.items])
        where = f" (listed in {path})"
    if len(skipped) == total:
        raise ValueError(
            f"none of {total} clips is usable: {skipped.summary()}{where}\n{skipped.listing(10)}"
        )
    if skipped.items:
        logger.warning(
            "skipped %d of %d clips: %s%s", len(skipped), total, skipped.summary(), where
        )


def _scan_shards(
    entries: Sequence[Entry], config: DataConfig, folder: Path | None, progress: bool
) -> list[Shard]:
    shards = list(finished_shards(folder)) if folder is not None else []
    done = shards[-1].last if shards else 0
    if done == len(entries):
        return shards
    limit = config.shard_mebibytes * (1 << 20) // PCM.itemsize
    keep = config.cache_pcm
    writer = ShardWriter(folder, len(shards), done, keep)
    try:
        with tqdm(
            total=len(entries),
            initial=done,
            desc="scan",
            unit="clip",
            mininterval=0.5,
            disable=not progress,
        ) as bar:
            for result in _checked(itertools.islice(entries, done, None), config):
                if isinstance(result, Skipped):
                    writer.skip(result)
                else:
                    writer.add(*result)
                bar.update()
                shard = writer.shard
                if shard.samples >= limit or shard.last - shard.first >= _SHARD_ENTRIES:
                    shards.append(writer.finish())
                    writer = ShardWriter(folder, len(shards), shard.last, keep)
        if writer.shard.last > writer.shard.first:
            shards.append(writer.finish())
    finally:
        writer.abandon()
    return shards


def _checked(
    entries: Iterable[Entry], config: DataConfig
) -> Iterator[Skipped | tuple[Waveform, float]]:
    """What each entry holds, in order; decoding runs some clips ahead in threads.

    The threads only decode (soundfile and soxr leave the interpreter free meanwhile): rows of
    Parquet are fetched here, in order, so that each row group is read once.
    """
    reader = EntryReader()
    with ThreadPoolExecutor(config.scan_threads) as pool:
        ahead: collections.deque[Future[Skipped | tuple[Waveform, float]]] = collections.deque()
        for entry in entries:
            try:
                content: str | bytes | AudioError = reader.open(entry)
            except AudioError as error:
                content = error
            ahead.append(pool.submit(_check, entry, content, config))
            if len(ahead) > 2 * config.scan_threads:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()


def _check(
    entry: Entry, content: str | bytes | AudioError, config: DataConfig
) -> Skipped | tuple[Waveform, float]:
    """The samples and the level of a usable clip, or why it is not usable."""
    try:
        if isinstance(content, AudioError):
            raise content
        wav = read_audio(content, config.sample_rate)
    except AudioError as error:
        return Skipped(entry.id, error.reason, error.detail)
    seconds = len(wav) / config.sample_rate
    if seconds < config.min_seconds:
        return Skipped(entry.id, "too_short", f"{seconds:.3f} s, at least {config.min_seconds} s")
    levels = measure_levels(wav, config.sample_rate)
    if levels.loudest_dbfs < config.silence_dbfs:
        detail = f"loudest 50 ms at {levels.loudest_dbfs:.0f} dBFS, at least {config.silence_dbfs}"
        return Skipped(entry.id, "silent", detail)
    return wav, levels.active_dbfs
