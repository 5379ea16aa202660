"""Where the results of a command go: files that appear whole, standard output, a journal."""

from __future__ import annotations

import json
import struct
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from ...core.audio import AUDIO_SUFFIXES
from ...core.results_log import ResultsLog

# Suffixes that say that --out is a file.
_FILES = frozenset({".wav", ".flac", ".ogg", ".opus", ".mp3"})
JOURNAL = "journal.jsonl"


class AudioPlace:
    """`--out` of audio: a file, a folder, or standard output."""

    def __init__(self, out: str | None, count: int, suffix: str) -> None:
        """Understand `--out`.

        Raises:
            ValueError: if it is missing, no format that can be written, or one file for several
                results.
        """
        if out is None:
            raise ValueError("--out is missing: a file (.wav .flac .ogg), a folder, or -")
        unwritten = AUDIO_SUFFIXES - _FILES
        if Path(out).suffix.lower() in unwritten:
            raise ValueError(
                f"--out {out}: this format is read, not written; write {', '.join(sorted(_FILES))}"
            )
        self.stdout = out == "-"
        self.path = Path(out)
        self.is_file = not self.stdout and self.path.suffix.lower() in _FILES
        self.suffix = suffix
        if count > 1 and (self.is_file or self.stdout):
            raise ValueError(
                f"--out {out} is one file, and there are {count} results: give a folder"
            )
        folder = not self.is_file and not self.stdout
        self.journal = ResultsLog(self.path / JOURNAL) if folder else None

    def file(self, name: str) -> Path:
        """Where a result of this name goes."""
        return self.path if self.is_file else self.path / f"{name}.{self.suffix}"

    def write(self, name: str, sound: Any) -> str:
        """Write a sound; return where it is."""
        if self.stdout:
            sys.stdout.buffer.write(wav_header(sound.sample_rate, sound.wav.numel()))
            sys.stdout.buffer.write(pcm(sound.wav))
            sys.stdout.buffer.flush()
            return "-"
        path = self.file(name)
        sound.save(path)
        return str(path)

    def done(self, key: str, name: str) -> bool:
        """Whether this very result is there already."""
        known = self.journal is not None and self.journal.get(name, key) is not None
        return known and self.file(name).exists()

    def note(self, name: str, key: str, entry: Mapping[str, Any]) -> None:
        """Write down that a result is there, or why it is not."""
        if self.journal is not None:
            self.journal.add(name, key, entry)


def wav_header(sample_rate: int, samples: int | None) -> bytes:
    """Header of 16 bit mono; of a stream that has no known end, the largest length there is."""
    size = 0xFFFFFFFF - 36 if samples is None else 2 * samples
    return (
        b"RIFF" + struct.pack("<I", 36 + size) + b"WAVEfmt "
        + struct.pack("<IHHIIHH", 16, 1, 1, sample_rate, 2 * sample_rate, 2, 16)
        + b"data" + struct.pack("<I", size)
    )  # fmt: skip


def pcm(wav: Any) -> bytes:
    """Samples [-1, 1] as 16 bit little endian."""
    samples = np.clip(wav.detach().cpu().flatten().numpy(), -1.0, 1.0)
    return np.round(samples * 32767).astype("<i2").tobytes()


def say(words: str) -> None:
    """A line for people, on standard error: standard output is for results."""
    tqdm.write(words, file=sys.stderr)  # not into the middle of a bar


def print_json(entry: Mapping[str, Any]) -> None:
    """A result as one line."""
    print(json.dumps(entry, ensure_ascii=False), flush=True)
