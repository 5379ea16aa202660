"""The cache of a scan: PCM and index in numbered shards, each finished by a rename.

``shard-00000.pcm`` is little-endian int16, ``shard-00000.json`` says which entries it covers. The
json is written last, so a shard with a json is whole and a killed scan goes on after the last one.
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
from .skipped import Skipped

PCM = np.dtype("<i2")
FULL_SCALE = 32768.0  # libsndfile's own, so that 16-bit files come back bit for bit


@dataclass(frozen=True, slots=True)
class Found:
    """What a scan learned about one usable entry."""

    entry: int  # index in the list of entries
    num_samples: int
    level_dbfs: float  # RMS of the active frames, see ``levels.py``
    scale: float  # applied to the decoded file; below 1 only where its peak exceeded full scale
    offset: int  # first sample in the shard


@dataclass
class Shard:
    """A run of entries that were looked at."""

    number: int
    first: int  # entries first .. last - 1
    last: int
    found: list[Found] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    samples: int = 0  # in the PCM file; 0 where PCM is not kept

    def to_json(self) -> dict[str, Any]:
        """Plain lists; the order of fields is that of the classes."""
        return {
            "number": self.number,
            "first": self.first,
            "last": self.last,
            "samples": self.samples,
            "found": [
                [f.entry, f.num_samples, f.level_dbfs, f.scale, f.offset] for f in self.found
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
            found=[Found(*row) for row in data["found"]],
            skipped=[Skipped(*row) for row in data["skipped"]],
        )


def pcm_path(folder: Path, number: int) -> Path:
    """Where the samples of a shard lie."""
    return folder / f"shard-{number:05d}.pcm"


def finished_shards(folder: Path) -> Iterator[Shard]:
    """The shards of an earlier scan, up to the first that is missing or not whole."""
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
    """Collects one shard; ``finish`` makes it visible to others.

    With ``folder`` None nothing is written; with ``keep_pcm`` False only the index is.
    """

    def __init__(self, folder: Path | None, number: int, first: int, keep_pcm: bool) -> None:
        self.shard = Shard(number=number, first=first, last=first)
        self._folder = folder
        self._file: io.BufferedWriter | None = None
        if folder is not None and keep_pcm:
            path = pcm_path(folder, number)
            self._aside = path.with_name(f"{path.name}.tmp-{os.getpid()}")
            self._file = open(self._aside, "wb")

    def add(self, wav: Waveform, level_dbfs: float) -> None:
        """Append the next entry's samples [S]."""
        scale = 1.0 / max(1.0, float(np.abs(wav).max()))
        found = Found(self.shard.last, len(wav), level_dbfs, scale, self.shard.samples)
        self.shard.found.append(found)
        self.shard.last += 1
        if self._file is not None:
            self._file.write(to_pcm(wav * np.float32(scale)).tobytes())
            self.shard.samples += len(wav)

    def skip(self, skipped: Skipped) -> None:
        """Pass over the next entry."""
        self.shard.skipped.append(skipped)
        self.shard.last += 1

    def finish(self) -> Shard:
        """Close and rename."""
        if self._file is not None and self._folder is not None:
            self._file.close()
            os.replace(self._aside, pcm_path(self._folder, self.shard.number))
        if self._folder is not None:
            path = pcm_path(self._folder, self.shard.number).with_suffix(".json")
            write_json(path, self.shard.to_json())
        return self.shard

    def abandon(self) -> None:
        """Remove what is unfinished."""
        if self._file is not None:
            self._file.close()
            with contextlib.suppress(FileNotFoundError):
                self._aside.unlink()


def to_pcm(wav: Waveform) -> NDArray[np.int16]:
    """Float32 [S] in [-1, 1] -> int16 [S]."""
    return np.clip(np.rint(wav * FULL_SCALE), -32768, 32767).astype(PCM)


def from_pcm(pcm: NDArray[np.int16]) -> Waveform:
    """int16 [S] -> float32 [S]."""
    return pcm.astype(np.float32) * np.float32(1.0 / FULL_SCALE)


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Only one process of a machine scans into a folder; the others wait and find it done.

    The lock belongs to the open file, so it is gone when its holder is killed.
    """
    with open(folder / "lock", "w") as file:
        try:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX)
        except (ImportError, OSError):
            pass  # no locks here (Windows, some network file systems): the work is done twice
        yield
