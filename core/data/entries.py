"""One entry of a corpus: its metadata, and access to its encoded audio.

An entry names an audio file, a row of a Parquet file or a row of a Hugging Face dataset. Nothing
is decoded here; see ``decoding.py``.
"""

from __future__ import annotations

import bisect
import dataclasses
import hashlib
import itertools
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..audio import AudioError, Waveform, read_audio
from ..reading import reading
from .webdataset import read_member

DEFAULT_DOMAIN = "audio"
SPLITS = ("train", "valid", "test")
_SPLIT_ALIASES = {"val": "valid", "validation": "valid", "dev": "valid", "eval": "valid"}
_HASHED = ("id", "path", "row", "domain", "text", "speaker", "language", "stamp")


@dataclass(frozen=True, slots=True)
class AudioEntry:
    """One clip as listed by its corpus; its audio has not been opened yet."""

    id: str  # unique among all entries of one listing
    path: str  # audio file, Parquet or tar file, or hf:NAME:SPLIT
    row: int = -1  # of a Parquet file or dataset, or place in a tar file; -1 for an audio file
    domain: str = DEFAULT_DOMAIN
    text: str = ""
    speaker: str = ""
    language: str = ""
    stamp: str = ""  # size and modification time of the file: changes when the content does
    label: str = ""  # class of a sound
    split: str = ""  # train, valid, test, or the corpus's own name for it; "" if unknown
    start: float = 0.0  # seconds into the file
    seconds: float | None = None  # length of the excerpt; None reads to the end

    def identity(self) -> list[str | int]:
        """Fields that enter the hashes of caches and token shards."""
        return [getattr(self, name) for name in _HASHED]


def file_stamp(path: Path) -> str:
    """Size and modification time of a file, or ``missing``."""
    try:
        status = path.stat()
    except OSError:
        return "missing"
    return f"{status.st_size}-{status.st_mtime_ns}"


def normalize_split(name: str | None) -> str:
    """Lower-case name of a split; ``validation``, ``dev``, ``val`` and ``eval`` become ``valid``.

    Example:
        >>> normalize_split("Validation")
        'valid'
    """
    lower = (name or "").lower()
    return _SPLIT_ALIASES.get(lower, lower)


def infer_split(name: str | None) -> str:
    """Map the split name of a corpus to train, valid or test, if it is one of them.

    Example:
        >>> [infer_split(name) for name in ("train.clean.100", "dev-other", "full[:90%]", "fold3")]
        ['train', 'valid', 'train', 'fold3']
    """
    plain = normalize_split(name)
    first = normalize_split(re.split(r"[\W_]", plain)[0])
    if plain in SPLITS or first not in (*SPLITS, "full", "all"):
        return plain
    return "train" if first in ("full", "all") else first


def assign_splits(
    entries: Sequence[AudioEntry], valid_share: float, test_share: float = 0.0
) -> list[AudioEntry]:
    """Assign a split to the entries without one, by a hash of their text (or id without a text).

    Equal texts get the same split.

    Args:
        entries: As listed.
        valid_share: Expected share of these entries that becomes ``valid``.
        test_share: Expected share that becomes ``test``; if both shares are 0, nothing changes.
    """
    if not valid_share and not test_share:
        return list(entries)
    return [
        entry if entry.split else _with_hashed_split(entry, valid_share, test_share)
        for entry in entries
    ]


def _with_hashed_split(entry: AudioEntry, valid_share: float, test_share: float) -> AudioEntry:
    key = (entry.text.lower() or entry.id).encode()
    position = int.from_bytes(hashlib.sha256(key).digest()[:8], "big") / 2**64
    split = "valid" if position < valid_share else "train"
    split = "test" if valid_share <= position < valid_share + test_share else split
    return dataclasses.replace(entry, split=split)


class EntryReader:
    """Opens entries; keeps the last Parquet row group, so reading in order reads each group once.

    Can be pickled: other processes open the files again. Not thread-safe.
    """

    def __init__(self) -> None:
        self._tables: dict[str, _ParquetRows] = {}
        self._hubs: dict[str, Any] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {"_tables": {}, "_hubs": {}}

    def open(self, entry: AudioEntry) -> str | bytes:
        """Return the path of the audio file, or the encoded bytes in the row.

        Raises:
            AudioError: The row has neither bytes nor the path of a file.
        """
        if entry.row < 0:
            return entry.path
        if entry.path.endswith(".tar"):
            return read_member(entry.path, entry.row)
        if entry.path.startswith("hf:"):
            name, _, split = entry.path[3:].partition(":")
            if entry.path not in self._hubs:
                self._hubs[entry.path] = load_hub_dataset(name, split)
            return _encoded_audio(self._hubs[entry.path][entry.row]["audio"], name, entry.id)
        if entry.path not in self._tables:
            self._tables = {entry.path: _ParquetRows(entry.path)}
        value = self._tables[entry.path].audio(entry.row)
        return _encoded_audio(value, os.path.dirname(entry.path), entry.id)

    def read(self, entry: AudioEntry, sample_rate: int | None) -> Waveform:
        """Decode an entry, or the excerpt that it is of its file: mono samples [S].

        Raises:
            AudioError: It cannot be decoded.
        """
        source = self.open(entry)
        return read_audio(source, sample_rate, start=entry.start, seconds=entry.seconds)


class _ParquetRows:
    """Random access to the audio column of one Parquet file, one row group in memory."""

    def __init__(self, path: str) -> None:
        import pyarrow.parquet

        with reading(path):
            self._file = pyarrow.parquet.ParquetFile(path)
        self._path, self._column = path, audio_column(self._file.schema_arrow, path)
        sizes = [
            self._file.metadata.row_group(group).num_rows
            for group in range(self._file.num_row_groups)
        ]
        self._ends = list(itertools.accumulate(sizes))
        self._group = -1
        self._rows: Any = None

    def audio(self, row: int) -> Any:
        group = bisect.bisect_right(self._ends, row)
        if group != self._group:
            with reading(self._path):
                table = self._file.read_row_group(group, columns=[self._column])
            self._rows, self._group = table.column(self._column), group
        first = self._ends[group - 1] if group else 0
        return self._rows[row - first].as_py()


def _encoded_audio(value: Any, folder: str, name: str) -> str | bytes:
    """A Hugging Face audio value {bytes, path}, plain bytes, or a plain path."""
    if isinstance(value, dict):
        value = value.get("bytes") if value.get("bytes") is not None else value.get("path")
    if isinstance(value, bytes):
        return value
    if isinstance(value, str) and value:
        return os.path.join(folder, value)
    raise AudioError("missing", f"row {name} has neither bytes nor a path")


def audio_column(schema: Any, where: str) -> str:
    """Name of the audio column: ``audio``, or else the first struct column with ``bytes``.

    Raises:
        ValueError: There is no such column; the message lists the columns.
    """
    import pyarrow

    if "audio" in schema.names:
        return "audio"
    for field in schema:
        if pyarrow.types.is_struct(field.type) and "bytes" in [child.name for child in field.type]:
            return str(field.name)
    raise ValueError(
        f"{where}: no column 'audio' and none of structure {{bytes, path}};"
        f" found {', '.join(schema.names)}"
    )


@dataclass(frozen=True)
class HubName:
    """A Hugging Face dataset: its id on the hub or a local folder, configuration and revision."""

    path: str
    config: str | None = None
    revision: str | None = None


def parse_hub_name(text: str) -> HubName:
    """Parse ``owner/name[/config][@revision]`` or a local folder with an optional ``/config``.

    Example:
        >>> parse_hub_name("openslr/librispeech_asr/clean")
        HubName(path='openslr/librispeech_asr', config='clean', revision=None)

    Raises:
        ValueError: It is the path of a folder that does not exist.
    """
    folder, _, last = os.path.expanduser(text).rpartition("/")
    if folder and _has_config(folder, last):
        return HubName(folder, last)
    path = os.path.expanduser(text)
    if os.path.exists(path):
        return HubName(path)
    if os.path.isabs(path) or text.startswith((".", "~")):
        raise ValueError(f"hf:{text} must be a dataset or an existing folder, got {path}")
    name, _, revision = text.partition("@")
    owner, _, rest = name.partition("/")
    dataset, _, config = rest.partition("/")
    return HubName(f"{owner}/{dataset}" if dataset else owner, config or None, revision or None)


def _has_config(folder: str, config: str) -> bool:
    """Whether the dataset card of a local dataset declares this configuration."""
    card = os.path.join(folder, "README.md")
    if not os.path.isfile(card):
        return False
    with open(card, encoding="utf-8") as file:
        return re.search(rf"config_name:\s*{re.escape(config)}\s*$", file.read(), re.M) is not None


def load_hub_dataset(name: str, split: str) -> Any:
    """Load a Hugging Face dataset with its encoded audio in the column ``audio``.

    Audio is not decoded by ``datasets``: version 5 decodes with torchcodec, which needs FFmpeg.

    Raises:
        ValueError: It cannot be loaded, or it has no audio column.
    """
    import datasets

    hub = parse_hub_name(name)
    if is_saved_dataset(hub.path):
        data = _saved_split(datasets.load_from_disk(hub.path), name, split)
    else:
        with _one_line_errors(name, split):
            data = datasets.load_dataset(hub.path, hub.config, split=split, revision=hub.revision)
    kinds = data.features.items()
    column = next((key for key, kind in kinds if isinstance(kind, datasets.Audio)), None)
    if column is not None:
        data = data.cast_column(column, datasets.Audio(decode=False))
    elif "audio" in data.column_names:
        column = "audio"
    else:
        raise ValueError(f"hf:{name}: no audio column; found {', '.join(data.column_names)}")
    return data if column == "audio" else data.rename_column(column, "audio")


def _saved_split(loaded: Any, name: str, split: str) -> Any:
    """Select the split of data of ``save_to_disk``: one dataset, or one per split."""
    if isinstance(loaded, Mapping):
        if split not in loaded:
            raise ValueError(f"hf:{name}: no split {split!r}; found {', '.join(loaded)}")
        return loaded[split]
    if loaded.split is not None and str(loaded.split) != split:
        raise ValueError(f"hf:{name}: no split {split!r}; found {loaded.split}")
    return loaded


def class_names(metadata: Mapping[bytes, bytes] | None) -> dict[str, list[str]]:
    """Return the class names of columns of integers, from a Parquet schema of ``datasets``.

    Args:
        metadata: Metadata of the schema.
    """
    try:
        info = json.loads((metadata or {})[b"huggingface"])
        kinds = info["info"]["features"].items()
        return {name.lower(): kind["names"] for name, kind in kinds if "names" in kind}
    except (KeyError, ValueError, TypeError, AttributeError, RecursionError):
        return {}


def check_hub_split(name: str, split: str) -> None:
    """Check that a dataset has a split, by its metadata.

    Raises:
        ValueError: There is no such dataset, configuration or split, or it cannot be reached.
    """
    import datasets

    hub = parse_hub_name(name)
    if is_saved_dataset(hub.path):
        _saved_split(datasets.load_from_disk(hub.path), name, split)
        return
    with _one_line_errors(name, split):
        found = datasets.get_dataset_split_names(hub.path, hub.config, revision=hub.revision)
        unknown = {part.split("[")[0] for part in split.split("+")} - {*found, "all"}
        if unknown:
            raise ValueError(f"no split {', '.join(unknown)}; found {', '.join(found)}")


def is_saved_dataset(folder: str | os.PathLike[str]) -> str:
    """Return the file by which a folder is one of ``save_to_disk``; '' if it is none."""
    files = ("dataset_dict.json", "dataset_info.json")
    return next((file for file in files if os.path.isfile(os.path.join(folder, file))), "")


def saved_splits(folder: str) -> list[str]:
    """Return the names of the splits of a folder of ``save_to_disk``; '' if it names none."""
    import datasets

    with reading(folder):
        loaded = datasets.load_from_disk(folder)
    return list(loaded) if isinstance(loaded, Mapping) else [str(loaded.split or "")]


@contextmanager
def _one_line_errors(name: str, split: str) -> Iterator[None]:
    import datasets

    try:
        yield
    except (ValueError, RuntimeError, OSError, datasets.exceptions.DatasetsError) as error:
        message = " ".join(str(error).split())
        hint = (
            "a configuration is named as in hf:openslr/librispeech_asr/clean:train.100"
            if "onfig" in message
            else "a split is named as in hf:owner/name:train"
        )
        raise ValueError(f"hf:{name}:{split} cannot be loaded ({hint}): {message}") from error
