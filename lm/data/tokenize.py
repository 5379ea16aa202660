"""A corpus as shards of tokens: which recordings make which shard, what is done, what is left.

The plan (which recordings, in which order, cut into shards of so many) depends on the sources and
the configuration only. A process takes every world-th shard; a shard that exists is done. So a run
that was killed, or ran on another number of processes, leaves the same files bit for bit.
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
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from ...core.data.shards import locked
from ...core.data.skipped import Skipped
from .clips import Clip, ahead
from .config import TokenizeConfig
from .encoder import Encoded, encode_clips
from .recordings import Recording
from .shards import (
    ShardError,
    ShardInfo,
    read_codes,
    read_info,
    read_labels,
    shard_path,
    write_shard,
)
from .sources import list_recordings, with_splits

if TYPE_CHECKING:
    from ...codec.model import ALMTokenizer

logger = logging.getLogger(__name__)

# Processes wait for the slowest at the end; a corpus may take days, and they share no other word.
_PATIENCE = datetime.timedelta(days=30)
# Part of the plan's hash: raise it when the meaning of the rows changes.
_VERSION = 1
_CONFIG_OF_ROWS = ("min_seconds", "max_seconds", "silence_dbfs", "loudness_dbfs", "rows_per_shard")


@dataclass(frozen=True)
class Tokenized:
    """What a run leaves."""

    folder: Path
    shards: int
    rows: int
    seconds: float  # of audio in the rows
    skipped: tuple[Skipped, ...]


@dataclass(frozen=True)
class Plan:
    """What is to be done, the same on every process."""

    recordings: tuple[Recording, ...]
    frames_per_query: int
    config: TokenizeConfig
    blank: ShardInfo  # what all shards share

    @property
    def shards(self) -> int:
        """How many."""
        return -(-len(self.recordings) // self.config.rows_per_shard)

    def info(self, number: int) -> ShardInfo:
        """The shard of that number, before anything has been encoded."""
        first = number * self.config.rows_per_shard
        last = min(len(self.recordings), first + self.config.rows_per_shard)
        return dataclasses.replace(self.blank, number=number, first=first, last=last)


def tokenize_corpus(
    sources: Sequence[str | os.PathLike[str]],
    codec: ALMTokenizer,
    out: str | os.PathLike[str],
    config: TokenizeConfig | None = None,
    *,
    overwrite: bool = False,
    progress: bool = True,
) -> Tokenized:
    """Encode a corpus into Parquet shards; the same call goes on where an earlier one stopped.

    Under ``torchrun`` or ``accelerate launch`` the shards are dealt out to the processes.

    Args:
        sources: As in ``sources.py``.
        codec: In evaluation mode, on the device that is to compute.
        out: Folder of the shards.
        config: How recordings are checked and written.
        overwrite: Remove the shards of another plan instead of refusing to mix with them.
        progress: Show a progress bar.

    Raises:
        ValueError: Nothing is usable, with the counts of why; a source does not exist; or the
            folder holds tokens of other sources, options or another codec.
    """
    from accelerate import PartialState

    processes = PartialState(cpu=codec.device.type == "cpu", timeout=_PATIENCE)
    plan = make_plan(sources, codec, config or TokenizeConfig())
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        if processes.is_main_process:
            stack.enter_context(locked(out))  # a second run waits, and finds the work done
            _clear(out, plan, overwrite)
        processes.wait_for_everyone()
        mine = range(processes.process_index, plan.shards, processes.num_processes)
        _encode_shards(plan, mine, codec, out, progress and processes.is_main_process)
        processes.wait_for_everyone()
    result = _collect(plan, out)
    if result.rows == 0:
        raise ValueError(_why_nothing(result, len(plan.recordings)))
    return result


def make_plan(
    sources: Sequence[str | os.PathLike[str]], codec: ALMTokenizer, config: TokenizeConfig
) -> Plan:
    """List the recordings and name the plan."""
    if codec.codebook_size > 1 << 16:
        raise ValueError(f"codes are stored in 16 bits; the codec has {codec.codebook_size}")
    recordings = tuple(with_splits(list_recordings(sources), config.valid_share))
    w = config.frames_per_query or codec.config.frames_per_query
    digest = hashlib.sha256()
    options = [getattr(config, name) for name in _CONFIG_OF_ROWS]
    options += [config.passes] if config.passes > 1 else []
    options += ["vary", config.vary, config.seed] if config.vary else []
    options += ["search", config.search_seconds] if config.search_seconds else []
    digest.update(json.dumps([_VERSION, codec.fingerprint, w, options]).encode())
    for recording in recordings:
        row = [*recording.entry.identity(), recording.split, recording.start, recording.seconds]
        digest.update(json.dumps(row).encode())
    blank = ShardInfo(
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
    return Plan(recordings, w, config, blank)


def _clear(out: Path, plan: Plan, overwrite: bool) -> None:
    """Refuse or remove shards of another plan; remove what killed processes left behind."""
    for path in sorted(out.glob("tokens-*.parquet")):
        try:
            info = read_info(path)
        except ShardError:
            continue  # damaged: made again, and replaced then
        if info.plan == plan.blank.plan:
            continue
        if not overwrite:
            other = info.fingerprint != plan.blank.fingerprint
            why = (
                f"codec {info.fingerprint}, this is codec {plan.blank.fingerprint}"
                if other
                else f"other sources or options (plan {info.plan}, this is {plan.blank.plan})"
            )
            raise ValueError(
                f"{out} holds tokens of {why}: choose another --out, or --overwrite them"
            )
        path.unlink()
    for path in out.glob("*.tmp-*"):
        path.unlink()


def _encode_shards(
    plan: Plan, numbers: Sequence[int], codec: ALMTokenizer, out: Path, progress: bool
) -> None:
    left = [plan.info(number) for number in numbers if not _is_done(out, plan, number)]
    total = sum(plan.info(number).last - plan.info(number).first for number in numbers)
    todo = sum(info.last - info.first for info in left)
    rate = plan.blank.sample_rate
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
            rows: list[Encoded] = []
            skipped: list[tuple[int, Skipped]] = []
            for buffer in ahead(plan.recordings[info.first : info.last], rate, plan.config):
                clips = [item for item in buffer if isinstance(item, Clip)]
                skipped += [(i.place, i.skipped) for i in buffer if not isinstance(i, Clip)]
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


def _is_done(out: Path, plan: Plan, number: int) -> bool:
    """Whether the shard is there and whole; a damaged one is made again."""
    path = shard_path(out, number)
    if not path.exists():
        return False
    try:
        info = read_info(path)
        read_labels(path, info)
        read_codes(path, info)
    except ShardError as error:
        logger.warning("%s; it is made again", error)
        return False
    return info.plan == plan.blank.plan


def _collect(plan: Plan, out: Path) -> Tokenized:
    infos = [read_info(shard_path(out, number)) for number in range(plan.shards)]
    seconds = 0.0
    for info in infos:
        seconds += sum(read_labels(shard_path(out, info.number), info)["duration"].to_pylist())
    return Tokenized(
        folder=out,
        shards=len(infos),
        rows=sum(info.rows for info in infos),
        seconds=seconds,
        skipped=tuple(item for info in infos for item in info.skipped),
    )


def _why_nothing(result: Tokenized, total: int) -> str:
    counts: dict[str, int] = {}
    for item in result.skipped:
        counts[item.reason] = counts.get(item.reason, 0) + 1
    first = result.skipped[0]
    listed = ", ".join(f"{count} {reason}" for reason, count in sorted(counts.items()))
    return (
        f"none of {total} recordings is usable: {listed}"
        f" (the first: {first.id}: {first.detail}); nothing was left to tokenize"
    )
