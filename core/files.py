"""Small files and folders, written aside and renamed so that no reader sees half of one."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write a UTF-8 file; folders are made."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f"{path.name}.tmp-{os.getpid()}")
    aside.write_text(text, encoding="utf-8")
    os.replace(aside, path)


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Write JSON with an indent of one."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False) + "\n")


@contextlib.contextmanager
def replaced_folder(place: Path) -> Iterator[Path]:
    """An empty folder to write to; it takes the place of the old one when nothing failed."""
    aside, old = (place.with_name(f"{place.name}.{kind}-{os.getpid()}") for kind in ("tmp", "old"))
    aside.mkdir(parents=True)
    try:
        yield aside
        if place.exists():
            place.replace(old)
        aside.replace(place)
    finally:
        if old.exists() and not place.exists():  # the new one could not take its place
            old.replace(place)
        shutil.rmtree(aside, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)
