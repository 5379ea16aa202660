"""Results of a benchmark on disk: all rows as JSON, and the table that a person reads."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from almtok.core.files import write_json, write_text

Cell = dict[str, Any]
ToMarkdown = Callable[[list[Cell], dict[str, Any]], str]


def save_results(
    out: Path, rows: list[Cell], machine: dict[str, Any], to_markdown: ToMarkdown
) -> None:
    """Write ``rows.json`` and ``table.md``, whole or not at all."""
    write_json(out / "rows.json", {"environment": machine, "rows": rows})
    write_text(out / "table.md", to_markdown(rows, machine))
