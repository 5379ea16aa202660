"""What a batch has done so far, line by line: a killed run goes on where it stopped.

A line is added after its file lies under its name, so what is in the journal is whole. A last line
that was cut off is not read. The last line of an id counts, and has a key of all that the result
depends on: another key is another result.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any


class ResultsLog:
    """A JSONL file of results by id; opening it again reads what is there."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Open the file; folders are made.

        Raises:
            ValueError: if the file is something else.
        """
        self.path = Path(path)
        self.entries: dict[str, dict[str, Any]] = {}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if not self.path.exists():
            return
        whole = self.path.read_bytes()
        kept = whole[: whole.rfind(b"\n") + 1]
        for number, line in enumerate(kept.splitlines(), start=1):
            try:
                entry = json.loads(line)
                self.entries[entry["id"]] = entry
                entry["key"]  # noqa: B018  (a line without one is none of ours)
            except (ValueError, KeyError, TypeError) as error:
                raise ValueError(
                    f"{self.path}, line {number}, is no line of a journal: {line[:60]!r}"
                ) from error
        if len(kept) < len(whole):  # a line that was cut off would spoil the next one
            os.truncate(self.path, len(kept))

    def get(self, name: str, key: str) -> dict[str, Any] | None:
        """The entry of an id, if its last one has this key and was no error."""
        entry = self.entries.get(name)
        good = entry is not None and entry["key"] == key and "error" not in entry
        return entry if good else None

    def add(self, name: str, key: str, entry: Mapping[str, Any]) -> None:
        """Write an entry down; it is on the disk when this returns."""
        line = {"id": name, "key": key, **entry}
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
            file.flush()
            os.fsync(file.fileno())
        self.entries[name] = line


def key_of(*facts: Any) -> str:
    """A short name for all that a result depends on."""
    text = json.dumps(facts, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:20]


def stamp(path: str | os.PathLike[str]) -> str:
    """Changes when a file does; of a checkpoint's folder, when its weights do."""
    place = Path(path)
    files = sorted(place.rglob("*.safetensors")) if place.is_dir() else [place]
    facts = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    return key_of(facts)
