"""A divided corpus on disk: one manifest for each split, and what the split holds in one line."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import soundfile

from ..files import write_text
from .entries import SPLITS, AudioEntry, EntryReader
from .splits import CorpusSplit

_MEASURED, _MEASURED_ROWS = 2000, 40  # clips of a split whose length is read: files, rows of tables


def write_manifest(path: Path, entries: Sequence[AudioEntry]) -> None:
    """Write entries as a manifest, with absolute paths; rows of tables have the column ``row``.

    Raises:
        ValueError: The name of a file is not UTF-8.
    """
    lines = []
    for entry in entries:
        if not _is_utf8(entry.path):
            raise ValueError(f"{entry.path!r}: the name of the file is not UTF-8, rename it")
        lines.append(json.dumps(_row(entry), ensure_ascii=False) + "\n")
    write_text(path, "".join(lines))


def describe_split(split: CorpusSplit) -> str:
    """Return one line: clips, hours and speakers of each split, and what divides them."""
    parts = []
    for name in SPLITS:
        entries = split.parts[name]
        speakers = {entry.speaker for entry in entries} - {""}
        count = f", {len(speakers)} speaker{'s' * (len(speakers) > 1)}" if speakers else ""
        parts.append(f"{name} {len(entries)} clips, {_hours(entries)} h{count}")
    hows = sorted(set(split.how.values()))
    how = hows[0] if len(hows) == 1 else "; ".join(f"{d}: {h}" for d, h in split.how.items())
    left = f"; {split.left_out} clips left out, whose texts other splits have"
    return f"{'; '.join(parts)} ({how}{left * bool(split.left_out)})"


def _is_utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _row(entry: AudioEntry) -> dict[str, Any]:
    cut = bool(entry.start) or entry.seconds is not None
    row = {
        "audio": entry.path,
        "row": entry.row if entry.row >= 0 else None,
        "offset": entry.start if cut else None,
        "duration": entry.seconds,
        **{
            name: getattr(entry, name) or None
            for name in ("id", "text", "speaker", "language", "domain", "label", "split")
        },
    }
    return {name: value for name, value in row.items() if value is not None}


def estimated_hours(entries: Sequence[AudioEntry]) -> float | None:
    """Hours of audio, from the headers of up to 2,000 files; None if none of them can be read."""
    if not entries:
        return 0.0
    chosen, reader = _measured(entries), EntryReader()
    seconds = [length for entry in chosen if (length := _seconds(entry, reader)) is not None]
    return sum(seconds) / len(seconds) * len(entries) / 3600 if seconds else None


def _hours(entries: Sequence[AudioEntry]) -> str:
    hours = estimated_hours(entries)
    about = "about " if len(_measured(entries)) < len(entries) else ""
    return "unknown" if hours is None else f"{about}{hours:.2g}"


def _measured(entries: Sequence[AudioEntry]) -> Sequence[AudioEntry]:
    most = _MEASURED_ROWS if any(entry.row >= 0 for entry in entries) else _MEASURED
    return entries[:: max(1, len(entries) // most)]


def _seconds(entry: AudioEntry, reader: EntryReader) -> float | None:
    """Length of a clip by the header of its file; None if it cannot be read."""
    if entry.seconds is not None:
        return entry.seconds
    with contextlib.suppress(ValueError, OSError, RuntimeError):
        source = reader.open(entry)
        info = soundfile.info(io.BytesIO(source) if isinstance(source, bytes) else source)
        return max(0.0, info.frames / info.samplerate - entry.start)
    return None
