"""Labels of all shards of a folder, read once and stored beside them in ``.index/labels.arrow``.

The file holds a record batch for each shard and the metadata of the shards. It is used as long as
the shards have the names, sizes and times of change that they had when it was made; otherwise all
shards are read and verified again. Codes are not in it: they are verified when they are read.
"""

from __future__ import annotations

import collections
import contextlib
import hashlib
import json
import logging
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow
from tqdm import tqdm

from ...core.data.shards import locked
from .checked_file import FOLDER, open_checked, writable, write_checked
from .shards import LABELS, SCHEMA, ShardError, ShardInfo, read_info, read_labels

logger = logging.getLogger(__name__)

FILE = "labels.arrow"
INDEXED_FROM = 32  # shards from which their labels are stored; fewer are read in a fraction of 1 s
_SCHEMA = pyarrow.schema([SCHEMA.field(name) for name in LABELS])
_KEY = b"almtok"
_PROGRESS_FROM = 200  # shards from which reading labels shows a progress bar
_YOUNG_NS = 2 * 10**9  # file systems count times of change in steps of up to two seconds
_HELD = 8  # folders whose labels a process keeps

Folders = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]
State = tuple[str, int, int]  # of a shard: name, size in bytes, time of change in ns


@dataclass(frozen=True, eq=False)
class ShardLabels:
    """Labels and metadata of shards, in order."""

    paths: tuple[Path, ...]
    infos: tuple[ShardInfo, ...]
    batches: tuple[Any, ...]  # of each shard, a pyarrow.RecordBatch of the columns LABELS
    states: tuple[State, ...]
    read_ns: int  # time when reading began
    file: Path | None = None  # which holds the labels; None: they are in memory

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the checksums of all labels and of what their meaning depends on."""
        values = [
            [info.labels_sha256, info.num_codebooks, info.sample_rate, info.fingerprint]
            for info in self.infos
        ]
        return hashlib.sha256(json.dumps(values).encode()).hexdigest()

    def is_current(self, states: Sequence[State]) -> bool:
        """Whether these are the labels of the shards as they are now.

        A shard that was young when it was read may have been replaced since without another time
        of change: its footer is compared.
        """
        if tuple(states) != self.states:
            return False
        young = [n for n, state in enumerate(states) if state[2] > self.read_ns - _YOUNG_NS]
        return all(_has_info(self.paths[n], self.infos[n]) for n in young)

    def __reduce__(self) -> Any:
        if self.file is not None:
            return _reopened, (self.file, self.paths[0].parent, self.digest)
        fields = (self.paths, self.infos, self.batches, self.states, self.read_ns)
        return ShardLabels, fields


_held: collections.OrderedDict[tuple[str, str], ShardLabels] = collections.OrderedDict()


def folder_labels(folder: Path, spare: Path | None = None) -> ShardLabels:
    """Labels of all shards (``*.parquet``) of a folder; the next process finds them stored.

    Args:
        folder: With at least one shard.
        spare: Where labels are stored if the folder is read-only; None: they are not.

    Raises:
        ShardError: A shard is damaged.
    """
    states = tuple(_state(path) for path in sorted(folder.glob("*.parquet")))
    key = os.getcwd(), str(folder)
    kept = _held.get(key)
    if kept is None or not kept.is_current(states):
        kept = _held[key] = _stored_labels(folder, spare, states)
    _held.move_to_end(key)
    while len(_held) > _HELD:
        _held.popitem(last=False)
    return kept


def read_shard_labels(paths: Sequence[Path], *, progress: bool = False) -> ShardLabels:
    """Read and verify the labels of shards, in memory.

    Raises:
        ShardError: A shard is damaged.
    """
    began, infos, batches = time.time_ns(), [], []
    states = [_state(path) for path in paths]
    for path in tqdm(paths, "labels", disable=not progress):
        infos.append(read_info(path))
        batches.append(_batch(path, infos[-1]))
    return ShardLabels(tuple(paths), tuple(infos), tuple(batches), tuple(states), began)


def index_folder(folder: Path, spare: Path | None = None) -> Path | None:
    """The folder for what is stored beside shards, or ``spare``; None if neither can be written."""
    for place in (folder / FOLDER, spare):
        if place is not None and writable(place):
            return place
    return None


def _stored_labels(folder: Path, spare: Path | None, states: Sequence[State]) -> ShardLabels:
    """Labels from the first file that is current; it is made if there is none."""
    progress = len(states) >= _PROGRESS_FROM
    paths = [folder / state[0] for state in states]
    if len(states) < INDEXED_FROM:
        return read_shard_labels(paths)
    name = hashlib.sha256(os.fsencode(folder.resolve())).hexdigest()[:16]
    spare = None if spare is None else spare / name
    for place in (folder / FOLDER, spare):
        found = None if place is None else _open(place / FILE, folder)
        if found is not None and found.is_current(states):
            return found
    place = index_folder(folder, spare)
    if place is None:
        logger.info("%s is read-only: its labels are read at every start", folder)
        return read_shard_labels(paths, progress=progress)
    with _locked(place):  # a second process waits, and finds what the first one wrote
        found = _open(place / FILE, folder)
        if found is not None and found.is_current(states):
            return found
        try:
            _write(place / FILE, paths, states, progress)
        except OSError as error:
            logger.info("labels of %s are not stored (%s)", folder, error)
            return read_shard_labels(paths, progress=progress)
        for path in place.glob(f"{FILE}.tmp-*"):  # of killed processes
            path.unlink(missing_ok=True)
        found = _open(place / FILE, folder)
    return found or read_shard_labels(paths, progress=progress)


def _write(path: Path, paths: Sequence[Path], states: Sequence[State], progress: bool) -> None:
    """Read, verify and write one shard after the other: memory does not grow with their number."""
    began = time.time_ns()
    infos = [read_info(shard) for shard in paths]
    values = {"states": states, "read_ns": began, "infos": [info.to_json() for info in infos]}
    schema = _SCHEMA.with_metadata({_KEY: json.dumps(values).encode()})

    def write(file: Any) -> None:
        with pyarrow.ipc.new_stream(pyarrow.PythonFile(file, "w"), schema) as stream:
            shards = zip(paths, infos, strict=True)
            for shard, info in tqdm(shards, "labels", len(paths), disable=not progress):
                stream.write_batch(_batch(shard, info))

    write_checked(path, write)


def _open(path: Path, folder: Path) -> ShardLabels | None:
    """Labels from a file; None if there is none, it is damaged or of another version."""
    buffer = open_checked(path)
    if buffer is None:
        return None
    try:
        with pyarrow.ipc.open_stream(pyarrow.BufferReader(buffer)) as stream:
            values = json.loads(stream.schema.metadata[_KEY])
            batches = tuple(stream)
        infos = tuple(ShardInfo.from_json(text) for text in values["infos"])
        states = tuple((name, size, changed) for name, size, changed in values["states"])
        read_ns = int(values["read_ns"])
    except (pyarrow.ArrowException, ValueError, KeyError, TypeError):
        return None
    if [info.rows for info in infos] != [len(batch) for batch in batches]:
        return None
    paths = tuple(folder / state[0] for state in states)
    return ShardLabels(paths, infos, batches, states, read_ns, path)


def _reopened(file: Path, folder: Path, digest: str) -> ShardLabels:
    """Labels in another process (:meth:`ShardLabels.__reduce__`)."""
    found = _open(file, folder)
    if found is None or found.digest != digest:
        raise ShardError(f"{file} was changed while it was used: the shards of {folder} changed")
    return found


def _batch(path: Path, info: ShardInfo) -> Any:
    """Labels of a shard as one record batch."""
    table = read_labels(path, info).cast(_SCHEMA).combine_chunks()
    batches = table.to_batches()
    return batches[0] if batches else pyarrow.RecordBatch.from_pylist([], _SCHEMA)


def _state(path: Path) -> State:
    try:
        status = path.stat()
    except OSError:
        raise ShardError(f"there is no token shard {path}") from None
    return path.name, status.st_size, status.st_mtime_ns


def _has_info(path: Path, info: ShardInfo) -> bool:
    try:
        return read_info(path) == info
    except ShardError:
        return False


@contextlib.contextmanager
def _locked(folder: Path) -> Any:
    """:func:`locked`, where the folder allows a lock file."""
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):
            stack.enter_context(locked(folder))
        yield


def shard_paths(folders: Folders) -> list[Path]:
    """List the shards of folders, in order.

    Raises:
        ValueError: A folder holds none.
    """
    sources = [folders] if isinstance(folders, (str, os.PathLike)) else list(folders)
    paths: list[Path] = []
    for folder in map(Path, sources):
        inside = sorted(folder.glob("*.parquet")) if folder.is_dir() else [folder]
        if not inside:
            raise ValueError(
                f"{folder} holds no token shards (*.parquet): run 'almtok lm tokenize'"
            )
        paths += inside
    if not paths:
        raise ValueError("folders must name at least one folder of tokens, got none")
    return paths


def read_tables(folders: Folders, spare: Path | None = None) -> list[ShardLabels]:
    """Labels of the shards of folders, in order; those of folders are stored (``labels.py``).

    Raises:
        ValueError: A folder holds no shard, or a shard is damaged.
    """
    sources = [folders] if isinstance(folders, (str, os.PathLike)) else list(folders)
    shard_paths(sources)  # checks them
    return [
        folder_labels(path, spare) if path.is_dir() else read_shard_labels([path])
        for path in map(Path, sources)
    ]


def read_infos(paths: Sequence[Path], fingerprint: str | None) -> list[ShardInfo]:
    """Read the metadata of shards, which must be of one codec and one loudness.

    Raises:
        ValueError: They are not; the message has both values.
    """
    infos = [read_info(path) for path in paths]
    check_infos(paths, infos, fingerprint)
    return infos


def check_infos(paths: Sequence[Path], infos: Sequence[ShardInfo], fingerprint: str | None) -> None:
    """Check that shards are of one codec and one loudness.

    Raises:
        ValueError: They are not; the message has both values.
    """
    for path, info in zip(paths, infos, strict=True):
        if fingerprint is not None and info.fingerprint != fingerprint:
            raise ValueError(
                f"tokens must be of codec {fingerprint}, got tokens of codec {info.fingerprint}"
                f" in {path}"
            )
        if info.fingerprint != infos[0].fingerprint:
            raise ValueError(
                f"tokens of two codecs cannot be mixed: {paths[0]} was made by codec"
                f" {infos[0].fingerprint}, {path} by codec {info.fingerprint}"
            )
        if info.loudness_dbfs != infos[0].loudness_dbfs:
            raise ValueError(
                f"recordings of two levels cannot be mixed: {paths[0]} was made with --loudness"
                f" {infos[0].loudness_dbfs}, {path} with {info.loudness_dbfs}"
            )
