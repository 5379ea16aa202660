"""Encode a corpus into token shards.

The plan (the entries in order, cut into shards of ``rows_per_shard``) depends on the sources, the
codec and the configuration only. Process r of W writes shards r, r + W, ...; a shard that exists is
done. A run that was killed, or used another number of processes, therefore leaves the same files
bit for bit.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import hashlib
import json
import logging
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from tqdm import tqdm

from ...codec.refine import CodeRefiner
from ...codec.refine_config import BY_SPECTRA
from ...core.data.decoding import Skipped, SkipReport
from ...core.data.entries import AudioEntry, assign_splits
from ...core.data.manifests import list_entries
from ...core.data.shards import locked
from .clips import DecodedClip, prefetch_buffers
from .config import TokenizeConfig
from .labels import folder_labels
from .shards import (
    EncodedClip,
    ShardError,
    ShardInfo,
    read_codes,
    read_info,
    read_labels,
    shard_path,
    write_shard,
)

if TYPE_CHECKING:
    from ...codec.model import ALMTokenizer

logger = logging.getLogger(__name__)

# Timeout of the barrier at the end: a corpus may take days, and processes may differ by as much.
_BARRIER_TIMEOUT = datetime.timedelta(days=30)
# Part of the plan's hash: raise it when the meaning of the rows changes.
_VERSION = 1
_CONFIG_OF_ROWS = ("min_seconds", "max_seconds", "silence_dbfs", "loudness_dbfs", "rows_per_shard")


@dataclass(frozen=True)
class TokenizeResult:
    """Result of :func:`tokenize_corpus`."""

    folder: Path
    shards: int
    rows: int
    seconds: float  # of audio in the rows
    skipped: tuple[Skipped, ...]


@dataclass(frozen=True)
class TokenizePlan:
    """The shards to write, the same on every process."""

    entries: tuple[AudioEntry, ...]
    frames_per_query: int
    config: TokenizeConfig
    shared: ShardInfo  # fields that all shards have in common

    @property
    def shards(self) -> int:
        """Number of shards."""
        return -(-len(self.entries) // self.config.rows_per_shard)

    def info(self, number: int) -> ShardInfo:
        """Metadata of a shard before its clips are encoded."""
        first = number * self.config.rows_per_shard
        last = min(len(self.entries), first + self.config.rows_per_shard)
        return dataclasses.replace(self.shared, number=number, first=first, last=last)


def tokenize_corpus(
    sources: Sequence[str | os.PathLike[str]],
    codec: ALMTokenizer,
    out: str | os.PathLike[str],
    config: TokenizeConfig | None = None,
    *,
    overwrite: bool = False,
    progress: bool = True,
) -> TokenizeResult:
    """Encode a corpus into Parquet shards; the same call resumes an interrupted run.

    Under ``torchrun`` or ``accelerate launch`` the shards are distributed over the processes.

    Args:
        sources: As in ``core/data/manifests.py``.
        codec: In evaluation mode, on the device that computes.
        out: Folder of the shards.
        config: How clips are checked, encoded and written.
        overwrite: Remove the shards of another plan instead of raising an error.
        progress: Show a progress bar.

    Raises:
        ValueError: A source does not exist, no clip is usable (the message counts the reasons), or
            the folder holds tokens of other sources, other options or another codec.
    """
    from accelerate import PartialState

    processes = PartialState(cpu=codec.device.type == "cpu", timeout=_BARRIER_TIMEOUT)
    plan = make_plan(sources, codec, config or TokenizeConfig())
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        if processes.is_main_process:
            stack.enter_context(locked(out))  # a second run waits until the first is done
            _clear(out, plan, overwrite)
        processes.wait_for_everyone()
        mine = range(processes.process_index, plan.shards, processes.num_processes)
        _encode_shards(plan, mine, codec, out, progress and processes.is_main_process)
        processes.wait_for_everyone()
    result = _collect(plan, out)
    if result.rows == 0:
        raise ValueError(_no_rows(result.skipped, len(plan.entries)))
    return result


def make_plan(
    sources: Sequence[str | os.PathLike[str]], codec: ALMTokenizer, config: TokenizeConfig
) -> TokenizePlan:
    """List the entries and hash everything that the shards depend on."""
    if codec.codebook_size > 1 << 16:
        raise ValueError(f"codes are stored in 16 bits; the codec has {codec.codebook_size}")
    entries = tuple(assign_splits(list_entries(sources, transcripts=True), config.valid_share))
    w = config.frames_per_query or codec.config.frames_per_query
    digest = hashlib.sha256()
    options = [getattr(config, name) for name in _CONFIG_OF_ROWS]
    options += [config.passes] if config.passes > 1 else []
    options += ["vary", config.vary, config.seed] if config.vary else []
    options += ["augment", config.augment, config.seed] if config.augment else []
    options += ["search", config.search_seconds] if config.search_seconds else []
    digest.update(json.dumps([_VERSION, codec.fingerprint, w, options]).encode())
    for entry in entries:
        row = [*entry.identity(), entry.split, entry.start, entry.seconds]
        digest.update(json.dumps(row).encode())
    shared = ShardInfo(
        plan=digest.hexdigest()[:16],
        number=0,
        first=0,
        last=0,
        fingerprint=codec.fingerprint,
        loudness_dbfs=config.loudness_dbfs,
        sample_rate=codec.sample_rate,
        num_codebooks=codec.num_codebooks,
        codebook_size=codec.codebook_size,
    )
    return TokenizePlan(entries, w, config, shared)


def _clear(out: Path, plan: TokenizePlan, overwrite: bool) -> None:
    """Refuse or remove shards of another plan; remove temporary files of killed processes."""
    for path in sorted(out.glob("tokens-*.parquet")):
        try:
            info = read_info(path)
        except ShardError:
            continue  # damaged: it is written again
        if info.plan == plan.shared.plan:
            continue
        if not overwrite:
            other = info.fingerprint != plan.shared.fingerprint
            why = (
                f"codec {info.fingerprint}, this is codec {plan.shared.fingerprint}"
                if other
                else f"other sources or options (plan {info.plan}, this is {plan.shared.plan})"
            )
            raise ValueError(
                f"{out} holds tokens of {why}: choose another --out, or --overwrite them"
            )
        path.unlink()
    for path in out.glob("*.tmp-*"):
        path.unlink()


def _encode_shards(
    plan: TokenizePlan, numbers: Sequence[int], codec: ALMTokenizer, out: Path, progress: bool
) -> None:
    left = [plan.info(number) for number in numbers if not _is_done(out, plan, number)]
    total = sum(plan.info(number).last - plan.info(number).first for number in numbers)
    todo = sum(info.last - info.first for info in left)
    rate = plan.shared.sample_rate
    at_once = int(plan.config.seconds_at_once(codec.device.type) * rate)
    started, seconds = time.monotonic(), 0.0
    with tqdm(
        total=total,
        initial=total - todo,
        desc="tokenize",
        unit="rec",
        mininterval=0.5,
        disable=not progress,
    ) as bar:
        for info in left:
            rows: list[EncodedClip] = []
            skipped: list[tuple[int, Skipped]] = []
            for buffer in prefetch_buffers(plan.entries[info.first : info.last], rate, plan.config):
                clips = [item for item in buffer if isinstance(item, DecodedClip)]
                skipped += [(i.place, i.skipped) for i in buffer if not isinstance(i, DecodedClip)]
                bar.update(len(buffer) - len(clips))
                for batch in encode_clips(
                    codec,
                    clips,
                    frames_per_query=plan.frames_per_query,
                    batch_samples=at_once,
                    passes=plan.config.passes,
                    search_seconds=plan.config.search_seconds,
                ):
                    rows += batch
                    seconds += sum(row.num_samples for row in batch) / rate
                    bar.update(len(batch))
                    bar.set_postfix_str(f"{seconds / (time.monotonic() - started):.0f} s audio/s")
            rows.sort(key=lambda row: row.place)
            skips = tuple(item for _, item in sorted(skipped, key=lambda pair: pair[0]))
            info = dataclasses.replace(info, skipped=skips)
            write_shard(out, info, rows, plan.frames_per_query)


def _is_done(out: Path, plan: TokenizePlan, number: int) -> bool:
    """Whether the shard exists and is undamaged."""
    path = shard_path(out, number)
    if not path.exists():
        return False
    try:
        info = read_info(path)
        read_labels(path, info)
        read_codes(path, info)
    except ShardError as error:
        logger.warning("%s; it is written again", error)
        return False
    return info.plan == plan.shared.plan


def _collect(plan: TokenizePlan, out: Path) -> TokenizeResult:
    """Describe all shards; the labels of many are stored for the trainings (``labels.py``)."""
    labels = folder_labels(out)
    infos = labels.infos
    seconds = sum(sum(batch.column("duration").to_pylist()) for batch in labels.batches)
    return TokenizeResult(
        folder=out,
        shards=len(infos),
        rows=sum(info.rows for info in infos),
        seconds=seconds,
        skipped=tuple(item for info in infos for item in info.skipped),
    )


def _no_rows(skipped: Sequence[Skipped], total: int) -> str:
    first = skipped[0]
    return (
        f"none of {total} recordings is usable: {SkipReport(tuple(skipped)).summary()}"
        f" (the first: {first.id}: {first.detail}); nothing was left to tokenize"
    )


def encode_clips(
    codec: ALMTokenizer,
    clips: Sequence[DecodedClip],
    *,
    frames_per_query: int,
    batch_samples: int,
    passes: int = 1,
    search_seconds: float = 0.0,
) -> Iterator[list[EncodedClip]]:
    """Encode clips in batches of similar length and yield the codes batch by batch.

    Args:
        codec: In evaluation mode, on the device that computes.
        clips: In any order.
        frames_per_query: w, frames of 1/75 s per column of codes.
        batch_samples: Maximum number of samples of a batch, including padding; a single clip may
            exceed it.
        passes: Number of passes through the codec; each pass after the first encodes the waveform
            decoded from the codes before.
        search_seconds: The codes of clips up to this length are searched (``CodeRefiner``).
    """
    longest = search_seconds * codec.sample_rate
    short = [clip for clip in clips if len(clip.wav) <= longest]
    for batch in _batches([clip for clip in clips if len(clip.wav) > longest], batch_samples):
        yield _encode(codec, batch, frames_per_query, passes)
    if short:
        search = CodeRefiner(codec, BY_SPECTRA)
        yield from ([_search(search, clip, frames_per_query)] for clip in short)


def _search(search: CodeRefiner, clip: DecodedClip, frames_per_query: int) -> EncodedClip:
    wav = torch.from_numpy(clip.wav)[None, None].to(search.model.device)
    codes = search.encode(wav, frames_per_query).audio_codes[0].cpu().numpy().astype(np.uint16)
    return EncodedClip(clip.place, clip.entry, len(clip.wav), np.ascontiguousarray(codes))


def _batches(clips: Sequence[DecodedClip], batch_samples: int) -> Iterator[list[DecodedClip]]:
    """Batches by descending length, so that a lack of memory shows in the first one."""
    batch: list[DecodedClip] = []
    for clip in sorted(clips, key=lambda clip: (-len(clip.wav), clip.place)):
        longest = len(batch[0].wav) if batch else len(clip.wav)
        if batch and longest * (len(batch) + 1) > batch_samples:
            yield batch
            batch = []
        batch.append(clip)
    if batch:
        yield batch


def _encode(
    codec: ALMTokenizer, batch: list[DecodedClip], frames_per_query: int, passes: int
) -> list[EncodedClip]:
    """Encode one batch; if the device runs out of memory, encode its halves."""
    lengths = torch.tensor([len(clip.wav) for clip in batch])
    wav = torch.zeros(len(batch), 1, int(lengths.max()))
    for row, clip in zip(wav, batch, strict=True):
        row[0, : len(clip.wav)] = torch.from_numpy(clip.wav)
    mask = torch.arange(wav.shape[-1]) < lengths[:, None]  # [B, S]
    try:
        wav, mask = wav.to(codec.device), mask.to(codec.device)
        out = codec.encode(wav, mask, frames_per_query=frames_per_query)
        for _ in range(passes - 1):
            # The length of the recordings, without the padding of the last column.
            decoded = codec.decode(
                out.audio_codes,
                frames_per_query=frames_per_query,
                length=lengths.to(codec.device),
            )
            wav = decoded.audio_values[..., : wav.shape[-1]]
            out = codec.encode(wav, mask, frames_per_query=frames_per_query)
    except RuntimeError as error:  # not every device has an error class of its own
        if len(batch) == 1 or codec.device.type == "cpu" or "out of memory" not in str(error):
            raise
        torch.get_device_module(codec.device).empty_cache()
        half = len(batch) // 2
        return [
            *_encode(codec, batch[:half], frames_per_query, passes),
            *_encode(codec, batch[half:], frames_per_query, passes),
        ]
    codes = out.audio_codes.cpu().numpy().astype(np.uint16)  # [B, K, Q]
    counts = out.audio_codes_mask.sum(-1).tolist()
    return [
        EncodedClip(clip.place, clip.entry, len(clip.wav), np.ascontiguousarray(row[:, :count]))
        for clip, row, count in zip(batch, codes, counts, strict=True)
    ]
