"""Rows of text tables (JSON Lines, JSON, CSV, TSV), and lines of text files.

Rows that do not match their header, duplicate columns and invalid bytes are errors that name the
file and the line.
"""

from __future__ import annotations

import codecs
import csv
import itertools
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from ..reading import describe
from .columns import lower_names

TABLE_SUFFIXES = (".jsonl", ".json", ".csv", ".tsv")
# The byte order marks of UTF-32 begin with those of UTF-16.
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def read_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the numbered lines of a text file, with their line ends.

    The encoding is UTF-8, or that of a byte order mark. Lines end with a line feed or a carriage
    return, never with U+2028, U+0085 or a form feed, which may occur inside a text.

    Raises:
        ValueError: The file has another encoding or is not text; the message names the line.
    """
    encoding = _encoding(path)
    try:
        with open(path, encoding=encoding, newline="") as file:
            for number, line in enumerate(file, start=1):
                if "\0" in line:
                    raise ValueError(_not_text(path, number))
                yield number, line
    except UnicodeDecodeError as error:
        raise ValueError(_wrong_encoding(path, encoding, error)) from error


def read_rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the place (``FILE line N``) and the cells by column of each row of a table.

    The names of columns are stripped and in lower case. CSV is quoted as in RFC 4180; TSV is not
    quoted, as in Common Voice. ``.json`` holds JSON Lines, as in NeMo, or a list of objects.

    Raises:
        ValueError: The table cannot be parsed; the message names the line.
    """
    suffix = path.suffix.lower()
    rows = _csv_rows(path, suffix) if suffix in (".csv", ".tsv") else _json_rows(path)
    for where, pairs in rows:
        names = lower_names((name.strip() for name, _ in pairs), where)
        yield where, dict(zip(names, (value for _, value in pairs), strict=True))


def has_column(path: Path, columns: Iterable[str]) -> bool:
    """Whether any row of a table has one of these columns, given in lower case."""
    columns = frozenset(columns)
    if path.suffix.lower() in (".csv", ".tsv"):
        return any(columns & row.keys() for _, row in itertools.islice(read_rows(path), 1))
    # The lines are parsed only if a word occurs, which may also be a value.
    words = [f'"{column}"' for column in columns]
    named = any(word in line.lower() for _, line in read_lines(path) for word in words)
    return named and any(columns & row.keys() for _, row in read_rows(path))


def _encoding(path: Path) -> str:
    with open(path, "rb") as file:
        start = file.read(4)
    return next((name for mark, name in _MARKS if start.startswith(mark)), "utf-8-sig")


def _not_text(path: Path, number: int) -> str:
    return (
        f"{path} line {number}: holds zero bytes, expected UTF-8 text (UTF-16 needs a byte order"
        " mark; audio and Parquet need suffixes of their own)"
    )


def _wrong_encoding(path: Path, encoding: str, error: UnicodeDecodeError) -> str:
    if encoding != "utf-8-sig":
        return f"{path}: its byte order mark says {encoding}, but {error.reason}"
    with open(path, "rb") as file:  # the position of the error is that in an unknown block
        for number, line in enumerate(file, start=1):
            if b"\0" in line:
                return _not_text(path, number)
            try:
                line.decode("utf-8")
            except UnicodeDecodeError as found:
                return (
                    f"{path} line {number}: byte 0x{line[found.start]:02x} at column"
                    f" {found.start + 1} is not UTF-8; convert the file, for example with"
                    " iconv -f LATIN1 -t UTF-8"
                )
    return f"{path} is not UTF-8: {error}"


def _csv_rows(path: Path, suffix: str) -> Iterator[tuple[str, list[tuple[str, Any]]]]:
    lines = (line for _, line in read_lines(path))
    if suffix == ".tsv":
        table = csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)
    else:
        table = csv.reader(lines, strict=True)
    header: list[str] | None = None
    try:
        for cells in table:
            where = f"{path} line {table.line_num}"
            if not cells:
                continue
            if header is None:
                header = cells
            elif len(cells) != len(header):
                raise ValueError(
                    f"{where}: {len(cells)} cells, expected {len(header)} as in the header"
                    f" ({', '.join(header)})"
                    + ("" if suffix == ".tsv" else '; a text with a comma is written "a, b"')
                )
            else:
                yield where, list(zip(header, cells, strict=True))
    except csv.Error as error:
        raise ValueError(f"{path} line {table.line_num}: not {suffix[1:]} ({error})") from error


def _json_rows(path: Path) -> Iterator[tuple[str, list[tuple[str, Any]]]]:
    lines = read_lines(path)
    for number, line in lines:
        if not line.strip():
            continue
        if line.lstrip().startswith("[") and path.suffix.lower() == ".json":
            text = line + "".join(rest for _, rest in lines)
            values = _parsed(text, str(path))
            yield from _objects((f"{path} item {n}", v) for n, v in enumerate(values, start=1))
            return
        where = f"{path} line {number}"
        yield from _objects([(where, _parsed(line, where))])


class _Object(list[tuple[str, Any]]):
    """The pairs of a JSON object; a list, because a key may be doubled."""


def _parsed(text: str, where: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=_Object)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{where}: not JSON ({describe(error)})") from error


def _objects(
    values: Iterable[tuple[str, Any]],
) -> Iterator[tuple[str, list[tuple[str, Any]]]]:
    for where, value in values:
        if not isinstance(value, _Object):
            raise ValueError(f"{where}: expected a JSON object, got {str(value)[:40]!r}")
        yield (
            where,
            [(name, dict(cell) if isinstance(cell, _Object) else cell) for name, cell in value],
        )
