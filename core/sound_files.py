"""Audio files for libsndfile, including those that it would not read completely."""

from __future__ import annotations

import contextlib
import functools
import mmap
import os
from collections.abc import Iterator

import soundfile

from .containers import Buffer, split

# libsndfile reports at least this number of frames for streams of unknown length.
NO_LENGTH = 1 << 62


class SoundFile(soundfile.SoundFile):
    """Sound file that does not seek after each block, which fails for unknown lengths."""

    def seekable(self) -> bool:
        """False."""
        return False


class _BufferFile:
    """Bytes with a file interface that accepts every seek, as libsndfile expects."""

    def __init__(self, memory: Buffer) -> None:
        self._memory, self._position = memory, 0

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._position = max(0, offset + (0, self._position, len(self._memory))[whence])
        return self._position

    def tell(self) -> int:
        return self._position

    def read(self, count: int) -> bytes:
        data = self._memory[self._position : self._position + count]
        self._position += len(data)
        return data


@contextlib.contextmanager
def open_parts(source: str | os.PathLike[str] | bytes) -> Iterator[list[SoundFile]]:
    """Open a file or its bytes; return one part, or several of concatenated files."""
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
        yield [stack.enter_context(SoundFile(_BufferFile(part))) for part in parts]


@functools.lru_cache(4096)
def _is_plain(path: str, size: int, modified: int) -> bool:
    """Whether libsndfile reads a file to its end; found once per file and not for every excerpt."""
    with (
        open(path, "rb") as raw,
        mmap.mmap(raw.fileno(), 0, access=mmap.ACCESS_COPY) as memory,
    ):
        return split(memory) is None
