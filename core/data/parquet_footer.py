"""How much a Parquet file decodes to, read from its footer before anything is decoded.

A few hundred bytes can encode gigabytes. pyarrow knows the numbers too, but aborts the process on
damaged footers when it is asked for them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

_MAGIC = b"PAR1"
# Fields of the footer's structures (parquet.thrift of the Parquet format).
_ROW_GROUPS, _COLUMNS, _METADATA, _PATH, _NUM_VALUES, _UNCOMPRESSED = 4, 1, 3, 3, 5, 6


@dataclass(frozen=True)
class ColumnSize:
    """Size of a column in one row group."""

    name: str  # of the column, without its parts
    num_values: int
    encoded_bytes: int  # before compression


def column_sizes(path: Path) -> list[ColumnSize]:
    """Sizes of all columns of all row groups.

    Raises:
        ValueError: The footer is damaged.
    """
    with open(path, "rb") as file:
        end = file.seek(0, 2)
        file.seek(max(0, end - 8))
        tail = file.read(8)
        length = int.from_bytes(tail[:4], "little")
        if tail[4:] != _MAGIC or not 0 < length <= end - 8:
            raise ValueError(f"{path} has no Parquet footer")
        file.seek(end - 8 - length)
        footer = file.read(length)
    try:
        chunks = [
            column[_METADATA]
            for group in _CompactReader(footer).structure()[_ROW_GROUPS]
            for column in group[_COLUMNS]
        ]
        return [
            ColumnSize(chunk[_PATH][0].decode(), chunk[_NUM_VALUES], chunk[_UNCOMPRESSED])
            for chunk in chunks
        ]
    except (IndexError, KeyError, TypeError, AttributeError, RecursionError, ValueError) as error:
        raise ValueError(f"the Parquet footer of {path} is damaged ({error!r})") from error


class _CompactReader:
    """Decodes Thrift's compact protocol to dicts by field number."""

    def __init__(self, data: bytes) -> None:
        self._data, self._place = data, 0

    def structure(self) -> dict[int, Any]:
        """Decode the next structure."""
        fields: dict[int, Any] = {}
        number = 0
        while head := self._byte():
            number = number + (head >> 4) if head >> 4 else self._signed()
            fields[number] = head & 15 == 1 if head & 15 in (1, 2) else self._value(head & 15)
        return fields

    def _value(self, kind: int) -> Any:
        if kind in (1, 2, 3):
            return self._byte()
        if kind in (4, 5, 6):
            return self._signed()
        if kind == 7:
            return self._bytes(8)
        if kind == 8:
            return self._bytes(self._unsigned())
        if kind in (9, 10):
            head = self._byte()
            size = self._unsigned() if head >> 4 == 15 else head >> 4
            return [self._value(head & 15) for _ in range(size)]
        if kind == 12:
            return self.structure()
        raise ValueError(f"unknown type {kind}")

    def _byte(self) -> int:
        self._place += 1
        return self._data[self._place - 1]

    def _bytes(self, count: int) -> bytes:
        self._place += count
        if self._place > len(self._data):
            raise IndexError("the footer ends early")
        return self._data[self._place - count : self._place]

    def _unsigned(self) -> int:
        value = shift = 0
        while True:
            byte = self._byte()
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    def _signed(self) -> int:
        value = self._unsigned()
        return (value >> 1) ^ -(value & 1)
