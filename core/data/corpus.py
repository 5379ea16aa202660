"""Usable clips of sources: decoded, checked and cached once, with random access."""

import hashlib
import itertools
import json
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from ..audio import AudioError, Waveform, read_audio
from ..files import write_json
from .config import DataConfig
from .decoding import Skipped, SkipReport, check_excerpt, check_waveform, decode_entries
from .entries import AudioEntry, EntryReader
from .manifests import list_entries
from .shards import (
    PCM,
    Shard,
    ShardWriter,
    finished_shards,
    from_pcm,
    locked,
    pcm_path,
)

logger = logging.getLogger(__name__)

# Part of the cache key: raise it when the meaning of the cached bytes changes.
_CACHE_VERSION = 1
# Maximum number of entries of a shard, however little PCM it holds.
_SHARD_ENTRIES = 1024


@dataclass(frozen=True, slots=True)
class CorpusClip:
    """One usable clip of an :class:`AudioCorpus`."""

    entry: AudioEntry
    num_samples: int  # at the corpus's sample rate
    level_dbfs: float  # RMS of the active frames
    scale: float  # factor from the decoded file to the samples that are read
    shard: int  # cache file
    offset: int  # first sample in it

    @property
    def id(self) -> str:
        """Id of the entry."""
        return self.entry.id

    @property
    def domain(self) -> str:
        """Domain of the entry."""
        return self.entry.domain


class AudioCorpus:
    """Usable clips and access to their samples; made by ``AudioCorpus.scan``.

    Can be pickled for worker processes, which open memory maps and files again.
    """

    def __init__(
        self,
        clips: Sequence[CorpusClip],
        skipped: SkipReport,
        *,
        sample_rate: int,
        fingerprint: str,
        pcm_folder: Path | None,
    ) -> None:
        self.clips = tuple(clips)
        self.skipped = skipped
        self.sample_rate = sample_rate
        self.fingerprint = fingerprint  # hash of the sources and of the options of the scan
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
            sources: As in ``manifests.py``: folders, manifests, Parquet, ``hf:NAME:SPLIT``.
            config: How clips are checked.
            cache_dir: Folder for decoded audio; a scan that was killed resumes from it. With None
                nothing is cached, and every crop is decoded from its file.
            progress: Show a progress bar.

        Raises:
            ValueError: A source does not exist, or no clip is usable; the message counts the
                reasons.
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
        _report_skipped(skipped, len(entries), folder)
        clips = [
            CorpusClip(
                entry=entries[info.entry],
                num_samples=info.num_samples,
                level_dbfs=info.level_dbfs,
                scale=info.scale,
                shard=shard.number,
                offset=info.offset,
            )
            for shard in shards
            for info in shard.clips
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
        """Domains of the clips, sorted."""
        return tuple(sorted({clip.domain for clip in self.clips}))

    def seconds(self, domain: str | None = None) -> float:
        """Duration of all clips, or of those of one domain."""
        samples = sum(c.num_samples for c in self.clips if domain in (None, c.domain))
        return samples / self.sample_rate

    def read(self, clip: CorpusClip, start: int = 0, count: int | None = None) -> Waveform:
        """Read samples ``start .. start + count`` of a clip, by default the whole clip.

        Args:
            clip: One of ``self.clips``.
            start: First sample.
            count: Number of samples; None or too many reads to the end.

        Returns:
            Float32 [count], a copy, in [-1, 1].

        Raises:
            ValueError: The clip has no such samples.
        """
        if not 0 <= start < clip.num_samples or (count is not None and count < 1):
            raise ValueError(
                f"samples of {clip.id} must lie in 0..{clip.num_samples}, got {count} from {start}"
            )
        stop = clip.num_samples if count is None else min(clip.num_samples, start + count)
        if self._pcm_folder is not None:
            return from_pcm(self._map(clip.shard)[clip.offset + start : clip.offset + stop])
        wav = read_audio(
            self._reader.open(clip.entry),
            self.sample_rate,
            start=clip.entry.start + start / self.sample_rate,
            seconds=(stop - start) / self.sample_rate,
        )
        result = np.zeros(stop - start, np.float32)  # lossy files may end some samples early
        result[: len(wav)] = wav * np.float32(clip.scale)
        return result

    def select(
        self,
        *,
        domain: str | None = None,
        limit: int | None = None,
        max_seconds: float | None = None,
        seed: int = 0,
    ) -> list[CorpusClip]:
        """Select clips, for evaluation, in the order of the corpus.

        Args:
            domain: Only this domain.
            limit: Maximum number of clips; of more, a random subset is drawn.
            max_seconds: Only clips up to this length.
            seed: Seed of the subset.
        """
        longest = float("inf") if max_seconds is None else max_seconds * self.sample_rate
        indices = [
            index
            for index, clip in enumerate(self.clips)
            if domain in (None, clip.domain) and clip.num_samples <= longest
        ]
        if limit is not None and limit < len(indices):
            drawn = np.random.default_rng(seed).permutation(len(indices))[:limit]
            indices = sorted(indices[number] for number in drawn)
        return [self.clips[index] for index in indices]

    def summary(self) -> str:
        """Return clips and minutes per domain, and the counts of skipped clips, as text."""
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


def _cache_key(entries: Sequence[AudioEntry], config: DataConfig) -> str:
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
        excerpt = [entry.start, entry.seconds] if entry.start or entry.seconds else []
        digest.update(json.dumps([*entry.identity(), *excerpt]).encode())
    return digest.hexdigest()[:16]


def _report_skipped(skipped: SkipReport, total: int, folder: Path | None) -> None:
    """Log the skipped clips and list them in a file; ValueError if no clip is left."""
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
    entries: Sequence[AudioEntry], config: DataConfig, folder: Path | None, progress: bool
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
            remaining = itertools.islice(entries, done, None)
            for result in decode_entries(
                remaining,
                lambda entry, content: _check(entry, content, config),
                config.scan_threads,
            ):
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


def _check(
    entry: AudioEntry, content: str | bytes | AudioError, config: DataConfig
) -> Skipped | tuple[Waveform, float]:
    """Return the samples [S] and the level in dBFS of a usable clip, else the reason."""
    try:
        if isinstance(content, AudioError):
            raise content
        wav = read_audio(
            content,
            config.sample_rate,
            start=entry.start,
            seconds=entry.seconds,
            allow_truncated=False,
        )
        check_excerpt(wav, config.sample_rate, entry.seconds)
        levels = check_waveform(
            wav,
            config.sample_rate,
            min_seconds=config.min_seconds,
            silence_dbfs=config.silence_dbfs,
        )
    except AudioError as error:
        return Skipped(entry.id, error.reason, error.detail)
    return wav, levels.active_dbfs
