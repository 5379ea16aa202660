"""Open audio files with libsndfile, also those that it does not read to their ends."""

from __future__ import annotations

import contextlib
import functools
import io
import mmap
import os
from collections.abc import Iterator

import soundfile

from .containers import Buffer, split

# libsndfile's number of frames of a stream that does not say it is higher.
NO_LENGTH = 1 << 62


class SoundFile(soundfile.SoundFile):
    """Read without seeking after every block, which fails where the length is not known."""

    def seekable(self) -> bool:
        """False."""
        return False


class _MappedFile:
    """A memory map as a file; libsndfile seeks beyond its end, which ``mmap`` refuses."""

    def __init__(self, memory: mmap.mmap) -> None:
        self._memory, self._place = memory, 0

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._place = offset + (0, self._place, len(self._memory))[whence]
        return self._place

    def tell(self) -> int:
        return self._place

    def read(self, count: int) -> bytes:
        found = self._memory[self._place : self._place + count]
        self._place += len(found)
        return found


@contextlib.contextmanager
def open_parts(source: str | os.PathLike[str] | bytes) -> Iterator[list[SoundFile]]:
    """Open a file, or its bytes: a list of one, or of the parts of joined files."""
    with contextlib.ExitStack() as stack:
        parts: list[Buffer] | None = None
        if isinstance(source, bytes):
            parts = split(source) or [source]
        else:
            # The descriptor, not the name: soundfile takes a .raw file for headerless PCM.
            raw = stack.enter_context(open(source, "rb"))
            status = os.stat(raw.fileno())
            if not _is_plain(os.fspath(source), status.st_size, status.st_mtime_ns):
                memory = mmap.mmap(raw.fileno(), 0, access=mmap.ACCESS_COPY)
                parts = split(stack.enter_context(memory))
            if parts is None:
                yield [stack.enter_context(SoundFile(raw.fileno(), closefd=False))]
                return
        files = [
            io.BytesIO(part) if isinstance(part, bytes) else _MappedFile(part) for part in parts
        ]
        yield [stack.enter_context(SoundFile(file)) for file in files]


@functools.lru_cache(4096)
def _is_plain(path: str, size: int, modified: int) -> bool:
    """Whether libsndfile reads a file to its end; found once per file and not for every excerpt."""
    with (
        open(path, "rb") as raw,
        mmap.mmap(raw.fileno(), 0, access=mmap.ACCESS_COPY) as memory,
    ):
        return split(memory) is None
