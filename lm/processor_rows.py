"""Arguments of the processor, row by row.

Shapes: `B` batch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from .prompt_builder import error_context

_T = TypeVar("_T")
_R = TypeVar("_R")


def task_of(text: Any, audio: Any) -> str:
    """The default task: tts of text, asr of audio.

    Raises:
        ValueError: if neither or both are given.
    """
    if (text is None) == (audio is None):
        given = "nothing" if text is None else "text and audio"
        raise ValueError(f"task must be given (such as 'tts') with {given}")
    return "asr" if text is None else "tts"


def rows_of(columns: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One dict of fields for each row, without those that are None.

    Raises:
        ValueError: for lists of different lengths, or empty ones.
    """
    lengths = {
        name: len(value) for name, value in columns.items() if isinstance(value, list | tuple)
    }
    if len(set(lengths.values())) > 1 or 0 in lengths.values():
        found = ", ".join(f"{name} {length}" for name, length in lengths.items())
        raise ValueError(f"lists must have one length, at least 1, got {found}")
    count = next(iter(lengths.values()), 1)
    rows = []
    for number in range(count):
        values = {n: v[number] if n in lengths else v for n, v in columns.items()}
        rows.append({name: value for name, value in values.items() if value is not None})
    return rows


def map_rows(function: Callable[[_T], _R], rows: Sequence[_T]) -> list[_R]:
    """Apply a function to every row; errors name the row."""
    results = []
    for number, row in enumerate(rows):
        with error_context(f"row {number}"):
            results.append(function(row))
    return results
