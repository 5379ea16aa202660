"""The part of its file that a row of a manifest is: columns of seconds."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .columns import ROLES, ColumnReader
from .tables import has_column

# Two columns that say the same may differ by so many seconds, because one of them was rounded.
_TOLERANCE = 0.011


def has_excerpts(path: Path) -> bool:
    """Whether any row of a table has a column that makes it an excerpt of its file."""
    return has_column(path, (*ROLES["offset"], *ROLES["end"]))


def read_excerpt(
    columns: ColumnReader, row: Mapping[str, Any], where: str
) -> tuple[float, float | None]:
    """Return the start and the length of an excerpt in seconds; None reads to the end.

    ``offset`` and ``duration`` are those of NeMo, ``start`` and ``end`` those of lists of segments;
    ``start`` with ``duration`` is that of lhotse.

    Raises:
        ValueError: A value is no number of seconds, the excerpt is empty, or two columns contradict
            each other; the message begins with ``where``.
    """
    starts = {
        name: value
        for name in ROLES["offset"]
        if (value := columns.number(row, name, where)) is not None
    }
    if starts and max(starts.values()) - min(starts.values()) > _TOLERANCE:
        raise ValueError(f"{where}: offset and start must be the same second, got {starts}")
    start = next(iter(starts.values()), 0.0)
    seconds = columns.number(row, "duration", where)
    if seconds == 0:
        raise ValueError(f"{where}: duration must be a number of seconds > 0, got 0")
    end = columns.number(row, "end", where)
    if end is None:
        return start, seconds
    if end <= start:
        raise ValueError(f"{where}: end must be after the start at {start:g} s, got {end:g} s")
    if seconds is not None and abs(start + seconds - end) > _TOLERANCE:
        raise ValueError(
            f"{where}: duration must be the {end - start:g} s from {start:g} to {end:g} s, got"
            f" {seconds:g} s"
        )
    return start, end - start
