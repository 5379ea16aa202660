"""Rows of text tables (JSON Lines, JSON, CSV, TSV), and lines of text files.

Rows that do not match their header, duplicate columns and invalid bytes are errors that name the
file and the line.
"""

from __future__ import annotations

import csv
import itertools
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from ..reading import describe, read_lines
from .columns import lower_names

TABLE_SUFFIXES = (".jsonl", ".json", ".csv", ".tsv")


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
        yield from _objects([(where, _parsed(line, where, "; a row is one line"))])


class _Object(list[tuple[str, Any]]):
    """The pairs of a JSON object; a list, because a key may be doubled."""


def _parsed(text: str, where: str, hint: str = "") -> Any:
    try:
        return json.loads(text, object_pairs_hook=_Object)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{where}: not JSON ({describe(error)}){hint}") from error


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
