"""Audio files for libsndfile, including those that it would not read completely."""

from __future__ import annotations

import contextlib
import functools
import mmap
import os
from collections.abc import Iterator
from typing import Any

import soundfile

from .containers import Buffer, split
from .truncation import share_present

# libsndfile reports at least this number of frames for streams of unknown length.
NO_LENGTH = 1 << 62
# Formats that are told by more than a few bytes, which files of other kinds may have, too.
_FORMATS = frozenset("WAV WAVEX RF64 W64 AIFF AU CAF FLAC OGG MP3 NIST VOC SVX".split())
# Headers may be wrong by so many seconds: encoders round and pad.
_TOLERANCE = 0.1


class SoundFile(soundfile.SoundFile):
    """Sound file that does not seek after each block, which fails for unknown lengths.

    Args:
        file: Descriptor or file object.
        share: Of the declared samples that the file holds, as ``truncation.share_present``.

    Raises:
        RuntimeError: The format is one that libsndfile guesses from two to four bytes.
    """

    def __init__(self, file: Any, *, share: float = 1.0, **options: Any) -> None:
        super().__init__(file, **options)
        self._share = share
        if self.format not in _FORMATS:
            self.close()
            raise RuntimeError(f"format {self.format} is not read: convert it to WAV or FLAC")

    def seekable(self) -> bool:
        """False."""
        return False

    def mismatch(self, decoded: int) -> str:
        """Say how a file that decodes to so many frames differs from its header; '' if it agrees.

        Args:
            decoded: Frames from the start of the file to where decoding ended.
        """
        rate = self.samplerate
        if not self._share:
            return f"the last page is not complete; {decoded / rate:.2f} s can be decoded"
        declared = decoded / self._share
        if self._share == 1 and self.format == "FLAC" and self.frames < NO_LENGTH:
            declared = self.frames
        if abs(declared - decoded) <= _TOLERANCE * rate:
            return ""
        seconds = f"{decoded / rate:.2f} s can be decoded"
        return f"its header declares about {declared / rate:.2f} s, {seconds}"


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
        if isinstance(source, bytes):
            parts, shares = _examine(source)
            parts = parts or [source]
        else:
            # The descriptor, not the name: soundfile takes a .raw file for headerless PCM.
            raw = stack.enter_context(open(source, "rb"))
            status = os.stat(raw.fileno())
            share = _plain_share(os.fspath(source), status.st_size, status.st_mtime_ns)
            if share is not None:
                file = SoundFile(raw.fileno(), share=share, closefd=False)
                yield [stack.enter_context(file)]
                return
            memory = mmap.mmap(raw.fileno(), 0, access=mmap.ACCESS_COPY)
            parts, shares = _examine(stack.enter_context(memory))
            assert parts is not None
        yield [
            stack.enter_context(SoundFile(_BufferFile(part), share=share))
            for part, share in zip(parts, shares, strict=True)
        ]


def _examine(data: Buffer) -> tuple[list[Buffer] | None, list[float]]:
    """Parts as of `split`, and the share of its declared samples that each of them holds."""
    share = share_present(data)  # before sizes are corrected
    parts = split(data)
    if parts is None:
        return None, [min(share, 1.0)]
    return parts, [share] if len(parts) == 1 else [min(share_present(p), 1.0) for p in parts]


@functools.lru_cache(4096)
def _plain_share(path: str, size: int, modified: int) -> float | None:
    """Share of the declared samples of a file that libsndfile reads to its end; else None.

    Found once per file and not for every excerpt.
    """
    with (
        open(path, "rb") as raw,
        mmap.mmap(raw.fileno(), 0, access=mmap.ACCESS_COPY) as memory,
    ):
        parts, shares = _examine(memory)
        return shares[0] if parts is None else None
