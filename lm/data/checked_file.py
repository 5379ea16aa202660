"""Files that can be made again: written aside and renamed, verified by a checksum when opened.

The first 64 bytes are a mark and the SHA-256 of the rest, which is memory-mapped.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow

from ...core.files import replaced_file

logger = logging.getLogger(__name__)

FOLDER = ".index"  # of such files, in a folder of tokens or a run folder
_MARK = b"ALMTOK-INDEX-1\n"
_HEAD = 64  # bytes: buffers of Arrow begin at multiples of 64
_BLOCK = 1 << 20


class _Hashing:
    """A file opened for writing that hashes what is written."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self.digest, self.closed = file, hashlib.sha256(), False

    def write(self, data: Any) -> int:
        self.digest.update(data)
        return self._file.write(data)

    def flush(self) -> None:
        self._file.flush()


def write_checked(path: Path, write: Callable[[Any], object]) -> None:
    """Write a file atomically; its folder is created.

    Args:
        path: Of the file.
        write: Is given an object with a method ``write``.

    Raises:
        OSError: The folder cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with replaced_file(path) as file:
        file.write(bytes(_HEAD))
        hashing = _Hashing(file)
        write(hashing)
        file.seek(0)
        file.write(_MARK + hashing.digest.digest())


def open_checked(path: Path) -> Any | None:
    """Memory-map what was written, as a ``pyarrow.Buffer``.

    Returns:
        None if there is no such file, or if it is damaged, which is logged: it must be made again.
    """
    try:
        with open(path, "rb", buffering=0) as file:
            head = file.read(_HEAD)
            digest = hashlib.sha256()
            while block := file.read(_BLOCK):
                digest.update(block)
    except OSError:
        return None
    if head != (_MARK + digest.digest()).ljust(_HEAD, b"\0"):
        logger.warning("%s is damaged and is made again", path)
        return None
    with pyarrow.memory_map(str(path)) as file:
        return file.read_buffer()[_HEAD:]


def writable(folder: Path) -> bool:
    """Whether a folder exists, or can be made, and files can be written in it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(folder, os.W_OK | os.X_OK)
