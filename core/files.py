"""Atomic writes by renaming, and append-only JSON Lines files."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write a UTF-8 file atomically; missing folders are created."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.tmp-{os.getpid()}")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Write JSON with an indent of one, atomically."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def cut_name(name: str, limit: int = 200) -> str:
    """Cut a file name to ``limit`` bytes of UTF-8; a cut name ends with a hash of the whole.

    File systems allow 255 bytes, including suffixes.

    Example:
        >>> cut_name("a talk"), cut_name("ä" * 300, 20)
        ('a talk', 'äääää-17295679')
    """
    encoded = os.fsencode(name)
    if len(encoded) <= limit:
        return name
    digest = hashlib.sha256(encoded).hexdigest()[:8]
    return f"{encoded[: limit - 9].decode(errors='ignore')}-{digest}"


def file_name(name: str) -> str:
    """A file name without folders for an id, at most 120 bytes; different ids get different names.

    Example:
        >>> file_name("a-1.wav"), file_name("a/1.wav"), file_name("a 1.wav")
        ('a-1.wav', 'a_1.wav-dc5778f7', 'a_1.wav-262133dd')
    """
    safe = "".join(char if char.isalnum() or char in "._-+@" else "_" for char in name).lstrip(".")
    if safe == name and name and len(name.encode()) <= 100:
        return name
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{safe.encode()[:100].decode(errors='ignore') or '_'}-{digest}"


@contextlib.contextmanager
def replaced_folder(folder: Path) -> Iterator[Path]:
    """Yield an empty folder that replaces ``folder`` if the block raises no exception."""
    new, old = (folder.with_name(f"{folder.name}.{kind}-{os.getpid()}") for kind in ("tmp", "old"))
    new.mkdir(parents=True)
    try:
        yield new
        if folder.exists():
            folder.replace(old)
        new.replace(folder)
    finally:
        if old.exists() and not folder.exists():  # the new folder could not be renamed
            old.replace(folder)
        shutil.rmtree(new, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def append_json_line(path: Path, value: Any) -> None:
    """Append a line to a JSON Lines file; it is on disk when this returns."""
    with open(path, "ab") as file:
        file.write(json.dumps(value, ensure_ascii=False).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())


def complete_lines(path: Path, *, repair: bool = True) -> list[bytes]:
    """Read the complete lines of a file that a killed process may have left incomplete.

    Args:
        path: The file.
        repair: Remove an incomplete last line from the file, so that lines can be appended.
    """
    content = path.read_bytes()
    complete = content[: content.rfind(b"\n") + 1]
    if repair and len(complete) < len(content):
        os.truncate(path, len(complete))
    return complete.splitlines()
