"""An entry -> the path or the encoded bytes of its audio."""

import bisect
import itertools
import os
from typing import Any

from ..audio import AudioError
from .hub import load_hub_dataset
from .sources import Entry, audio_column


class EntryReader:
    """Opens entries; keeps the last Parquet row group, so reading in order reads each group once.

    It can be sent to another process, where it opens its files again. Not safe for threads.
    """

    def __init__(self) -> None:
        self._tables: dict[str, _ParquetRows] = {}
        self._hubs: dict[str, Any] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {"_tables": {}, "_hubs": {}}

    def open(self, entry: Entry) -> str | bytes:
        """The path of the audio file, or the bytes of the row.

        Raises:
            AudioError: The row holds neither bytes nor the path of a file.
        """
        if entry.row < 0:
            return entry.path
        if entry.path.startswith("hf:"):
            name, _, split = entry.path[3:].partition(":")
            if entry.path not in self._hubs:
                self._hubs[entry.path] = load_hub_dataset(name, split)
            return _content(self._hubs[entry.path][entry.row]["audio"], name, entry.id)
        if entry.path not in self._tables:
            self._tables = {entry.path: _ParquetRows(entry.path)}
        value = self._tables[entry.path].audio(entry.row)
        return _content(value, os.path.dirname(entry.path), entry.id)


class _ParquetRows:
    """Random access to the audio column of one Parquet file, one row group in memory."""

    def __init__(self, path: str) -> None:
        import pyarrow.parquet

        self._file = pyarrow.parquet.ParquetFile(path)
        self._column = audio_column(self._file.schema_arrow, path)
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
            table = self._file.read_row_group(group, columns=[self._column])
            self._rows, self._group = table.column(self._column), group
        first = self._ends[group - 1] if group else 0
        return self._rows[row - first].as_py()


def _content(value: Any, folder: str, name: str) -> str | bytes:
    """A Hugging Face audio value {bytes, path}, plain bytes, or a plain path."""
    if isinstance(value, dict):
        value = value.get("bytes") if value.get("bytes") is not None else value.get("path")
    if isinstance(value, bytes):
        return value
    if isinstance(value, str) and value:
        return os.path.join(folder, value)
    raise AudioError("missing", f"row {name} holds neither bytes nor a path")
