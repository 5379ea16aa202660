"""A log of results that survives a kill, so that a batch resumes where it stopped.

Each result has a key: a hash of everything that the result depends on. A result whose key has
changed is computed again. A line is added after the output file of its result has been renamed to
its final name.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .files import append_json_line, complete_lines

JOURNAL = "journal.jsonl"  # name of the log in a folder of outputs


class ResultsLog:
    """A JSON Lines file of results by id; opening it again reads the results so far.

    Of several lines with the same id, the last one counts.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Open the file; missing folders are created.

        Raises:
            ValueError: The file exists but is not a log of results.
        """
        self.path = Path(path)
        self.entries: dict[str, dict[str, Any]] = {}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if not self.path.exists():
            return
        for number, line in enumerate(complete_lines(self.path, repair=False), start=1):
            try:
                entry = json.loads(line)
                self.entries[entry["id"]] = entry
                entry["key"]  # noqa: B018  (other files have no key)
            except (ValueError, KeyError, TypeError) as error:
                raise ValueError(
                    f"{self.path}, line {number}, is not a line of a results log: {line[:60]!r}"
                ) from error
        complete_lines(self.path)

    def get(self, name: str, key: str) -> dict[str, Any] | None:
        """The entry of an id, unless it has another key or records an error."""
        entry = self.entries.get(name)
        valid = entry is not None and entry["key"] == key and "error" not in entry
        return entry if valid else None

    def add(self, name: str, key: str, entry: Mapping[str, Any]) -> None:
        """Append an entry; it is on disk when this returns."""
        line = {"id": name, "key": key, **entry}
        append_json_line(self.path, line)
        self.entries[name] = line


def key_of(*values: Any) -> str:
    """Hash of everything that a result depends on."""
    text = json.dumps(values, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:20]


def stamp(path: str | os.PathLike[str]) -> str:
    """Hash of the sizes and modification times of a file, or of the weights in a folder."""
    path = Path(path)
    files = sorted(path.rglob("*.safetensors")) if path.is_dir() else [path]
    return key_of([(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files])
