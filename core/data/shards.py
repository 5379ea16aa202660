"""The cache of a scan: PCM and index in numbered shards, each finished by a rename.

``shard-00000.pcm`` is little-endian int16, ``shard-00000.json`` lists the entries that it covers.
The JSON file is written last: a shard with one is complete, and a killed scan resumes after the
last complete shard.
"""

import contextlib
import io
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..audio import Waveform
from ..files import write_json
from .decoding import Skipped

PCM = np.dtype("<i2")
FULL_SCALE = 32768.0  # as in libsndfile, so that 16-bit files are cached losslessly


@dataclass(frozen=True, slots=True)
class ClipInfo:
    """Measurements of a usable entry."""

    entry: int  # index in the list of entries
    num_samples: int
    level_dbfs: float  # RMS of the active frames, see ``decoding.py``
    scale: float  # factor on the decoded samples; below 1 only if their peak exceeds full scale
    offset: int  # first sample in the shard


@dataclass
class Shard:
    """The scanned entries ``first .. last - 1``."""

    number: int
    first: int
    last: int
    clips: list[ClipInfo] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    samples: int = 0  # in the PCM file; 0 if PCM is not cached

    def to_json(self) -> dict[str, Any]:
        """Plain lists, with the fields in the order of the classes."""
        return {
            "number": self.number,
            "first": self.first,
            "last": self.last,
            "samples": self.samples,
            "found": [
                [c.entry, c.num_samples, c.level_dbfs, c.scale, c.offset] for c in self.clips
            ],
            "skipped": [[s.id, s.reason, s.detail] for s in self.skipped],
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "Shard":
        """The inverse of ``to_json``."""
        return cls(
            number=data["number"],
            first=data["first"],
            last=data["last"],
            samples=data["samples"],
            clips=[ClipInfo(*row) for row in data["found"]],
            skipped=[Skipped(*row) for row in data["skipped"]],
        )


def pcm_path(folder: Path, number: int) -> Path:
    """Path of the samples of a shard."""
    return folder / f"shard-{number:05d}.pcm"


def finished_shards(folder: Path) -> Iterator[Shard]:
    """Shards of an earlier scan, up to the first that is missing or incomplete."""
    first = number = 0
    while True:
        try:
            text = pcm_path(folder, number).with_suffix(".json").read_text(encoding="utf-8")
            shard = Shard.from_json(json.loads(text))
            size = pcm_path(folder, number).stat().st_size if shard.samples else 0
        except (OSError, ValueError, KeyError, TypeError):
            return
        if shard.first != first or size != shard.samples * PCM.itemsize:
            return
        yield shard
        first, number = shard.last, number + 1


class ShardWriter:
    """Collects one shard; ``finish`` makes it visible to other processes.

    With ``folder=None`` nothing is written; with ``keep_pcm=False`` only the index is.
    """

    def __init__(self, folder: Path | None, number: int, first: int, keep_pcm: bool) -> None:
        self.shard = Shard(number=number, first=first, last=first)
        self._folder = folder
        self._file: io.BufferedWriter | None = None
        if folder is not None and keep_pcm:
            path = pcm_path(folder, number)
            self._temporary = path.with_name(f"{path.name}.tmp-{os.getpid()}")
            self._file = open(self._temporary, "wb")

    def add(self, wav: Waveform, level_dbfs: float) -> None:
        """Append the next entry's samples [S]."""
        scale = 1.0 / max(1.0, float(np.abs(wav).max()))
        info = ClipInfo(self.shard.last, len(wav), level_dbfs, scale, self.shard.samples)
        self.shard.clips.append(info)
        self.shard.last += 1
        if self._file is not None:
            self._file.write(to_pcm(wav * np.float32(scale)).tobytes())
            self.shard.samples += len(wav)

    def skip(self, skipped: Skipped) -> None:
        """Record that the next entry is skipped."""
        self.shard.skipped.append(skipped)
        self.shard.last += 1

    def finish(self) -> Shard:
        """Close the files and rename them to their final names."""
        if self._file is not None and self._folder is not None:
            self._file.close()
            os.replace(self._temporary, pcm_path(self._folder, self.shard.number))
        if self._folder is not None:
            path = pcm_path(self._folder, self.shard.number).with_suffix(".json")
            write_json(path, self.shard.to_json())
        return self.shard

    def abandon(self) -> None:
        """Remove the unfinished shard."""
        if self._file is not None:
            self._file.close()
            with contextlib.suppress(FileNotFoundError):
                self._temporary.unlink()


def to_pcm(wav: Waveform) -> NDArray[np.int16]:
    """Float32 [S] in [-1, 1] -> int16 [S]."""
    return np.clip(np.rint(wav * FULL_SCALE), -32768, 32767).astype(PCM)


def from_pcm(pcm: NDArray[np.int16]) -> Waveform:
    """int16 [S] -> float32 [S]."""
    return pcm.astype(np.float32) * np.float32(1.0 / FULL_SCALE)


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Lock a folder against other processes of this machine, which wait for the lock.

    The lock belongs to the open file, so it is released when its holder is killed.
    """
    with open(folder / "lock", "w") as file:
        try:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX)
        except (ImportError, OSError):
            pass  # not supported (Windows, some network file systems): processes repeat the work
        yield
