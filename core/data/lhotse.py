"""Corpora of lhotse: cuts, or recordings with supervisions, as JSON Lines (``.jsonl[.gz]``).

Each supervision is one entry: the excerpt of its recording that has its text and speaker, as after
``cuts.trim_to_supervisions()``. A cut without supervisions is one entry without a text.
"""

from __future__ import annotations

import gzip
import json
import math
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ..reading import read_lines, reading
from .columns import SourceReport
from .entries import SPLITS, AudioEntry, file_stamp, normalize_split

_NAME = re.compile(r"(?P<start>.*?)(?P<kind>cuts|recordings|supervisions)(?P<end>.*\.jsonl(\.gz)?)")
_ANCESTORS = 4  # folders above the table from which a relative path may count
_KINDS = ("MonoCut", "MultiCut")


def lhotse_tables(folder: Path, only: Path | None = None) -> tuple[Path, ...]:
    """Return the tables of a folder: of cuts, or else of recordings, each with its supervisions.

    Args:
        folder: Its files are looked at.
        only: One of its files, which is then the only one.

    Raises:
        ValueError: There are several, and one of them names no split.
    """
    names = sorted(os.listdir(folder)) if only is None else [only.name]
    found: dict[str, list[Path]] = {"cuts": [], "recordings": [], "supervisions": []}
    for name in names:
        match = _NAME.fullmatch(name)
        kind = match["kind"] if match else "cuts"
        named = match is not None or (only is not None and ".jsonl" in name)
        if named and _is_lhotse(folder / name, kind):
            found[kind].append(folder / name)
    if only is not None and found["supervisions"]:
        raise ValueError(
            f"{only} has no audio: pass the file of recordings or of cuts as the source"
        )
    tables = found["cuts"] or found["recordings"]
    unnamed = [path.name for path in tables if not _split_of_name(path)]
    if len(tables) > 1 and unnamed:
        names = [path.name for path in tables]
        raise ValueError(
            f"{folder} has several tables of lhotse ({', '.join(names)}), and {unnamed[0]} names no"
            " split (train, dev, test): pass one of them as the source"
        )
    return tuple(tables)


def lhotse_entries(
    table: Path, domain: str | None, split: str | None, report: SourceReport
) -> Iterator[AudioEntry]:
    """Entries of a table of cuts or of recordings.

    Args:
        table: As :func:`lhotse_tables` returns it.
        domain: By default ``speech``.
        split: Only of this split; by default that in the name of the table.
        report: Counts the supervisions without a recording, and tables of other splits.

    Raises:
        ValueError: A line is no cut of one recording in a file; the message names the line.
    """
    named = _split_of_name(table)
    if split is not None and named and named != normalize_split(split):
        report.other_splits += 1
        return
    match = _NAME.fullmatch(table.name)
    rows = _pairs(table, report) if match and match["kind"] == "recordings" else _rows(table)
    for where, cut in rows:
        with reading(where):
            yield from _cut_entries(cut, table.parent, where, domain, split or named)


def _cut_entries(
    cut: dict[str, Any], folder: Path, where: str, domain: str | None, split: str
) -> Iterator[AudioEntry]:
    if cut.get("type", "MonoCut") not in _KINDS:
        raise ValueError(
            f"{where}: expected a MonoCut or MultiCut, got a {cut.get('type')}: save the cuts"
            " before they are mixed or padded"
        )
    path = _audio_file(cut, folder, where)
    stamp, start = file_stamp(path), _seconds(cut, "start", where)
    length = _seconds(cut, "duration", where)
    whole = not start and length >= _seconds(cut["recording"], "duration", where) - 0.001
    spoken = cut.get("supervisions") or [{}]
    for segment in spoken:
        begin, seconds = start, None if whole else length
        if segment:
            first = max(0.0, _seconds(segment, "start", where))
            last = min(
                length, _seconds(segment, "start", where) + _seconds(segment, "duration", where)
            )
            if last <= first:
                raise ValueError(f"{where}: supervision {segment.get('id')} is outside its cut")
            if not (whole and first == 0 and last >= length - 0.001):
                begin, seconds = round(start + first, 6), round(last - first, 6)
        yield AudioEntry(
            id=str(segment.get("id") or cut["id"]),
            path=str(path),
            domain=domain or "speech",
            text=str(segment.get("text") or ""),
            speaker=str(segment.get("speaker") or ""),
            language=str(segment.get("language") or ""),
            stamp=stamp,
            split=split,
            start=begin,
            seconds=seconds,
        )


def _audio_file(cut: dict[str, Any], folder: Path, where: str) -> Path:
    """The file of a cut's recording."""
    recording = cut.get("recording")
    if not isinstance(recording, dict):
        raise ValueError(f"{where}: the cut has no recording, only features")
    if recording.get("transforms"):
        raise ValueError(
            f"{where}: the recording is transformed: save the cuts before augmentation"
        )
    sources = recording["sources"]
    if len(sources) != 1 or sources[0]["type"] != "file":
        kinds = ", ".join(str(source["type"]) for source in sources)
        raise ValueError(f"{where}: the recording must be one file, got {kinds or 'nothing'}")
    channels = sources[0]["channels"]
    if cut.get("type") == "MonoCut" and len(channels) > 1:
        raise ValueError(
            f"{where}: channel {cut.get('channel')} of {len(channels)} cannot be read alone: write"
            " it to a file of its own"
        )
    path = Path(os.path.expanduser(sources[0]["source"]))
    # lhotse writes paths as they were given to it, relative to the folder it was run in.
    places = [folder, *list(folder.resolve().parents)[:_ANCESTORS]]
    return next((place / path for place in places if os.path.isfile(place / path)), folder / path)


def _pairs(table: Path, report: SourceReport) -> Iterator[tuple[str, dict[str, Any]]]:
    """Recordings as cuts, with the supervisions of the table beside it."""
    match = _NAME.fullmatch(table.name)
    assert match is not None
    supervisions: dict[str, list[dict[str, Any]]] = {}
    beside = table.with_name(f"{match['start']}supervisions{match['end']}")
    for where, row in _rows(beside) if beside.is_file() else ():
        with reading(where):
            supervisions.setdefault(str(row["recording_id"]), []).append(row)
    for where, row in _rows(table):
        with reading(where):
            own = supervisions.pop(str(row["id"]), [])
            whole = {"id": row["id"], "start": 0, "duration": row["duration"], "recording": row}
            one_channel = len({str(segment.get("channel")) for segment in own}) < 2
            kind = "MultiCut" if one_channel else "MonoCut"
        yield where, {**whole, "supervisions": own, "type": kind}
    if lost := sum(map(len, supervisions.values())):
        report.notes.append(f"{lost} supervisions of {beside.name} without a recording")


def _rows(table: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    for number, line in _lines(table):
        where = f"{table} line {number}"
        if line.strip():
            with reading(where):
                row = json.loads(line)
            if not isinstance(row, dict):
                raise ValueError(f"{where}: expected a JSON object, got {line[:40]!r}")
            yield where, row


def _lines(table: Path) -> Iterator[tuple[int, str]]:
    if table.suffix != ".gz":
        yield from read_lines(table)
        return
    with reading(table), gzip.open(table, "rt", encoding="utf-8") as file:
        yield from enumerate(file, start=1)


def _is_lhotse(path: Path, kind: str) -> bool:
    """Whether the first line has the fields of the kind that the name of the file names."""
    if not path.is_file():
        return False
    fields = {"cuts": "duration", "recordings": "sources", "supervisions": "recording_id"}
    try:
        first = next((line for _, line in _lines(path)), "")
        row = json.loads(first)
        row = row if isinstance(row, dict) else {}
    except (ValueError, OSError, RecursionError):
        return path.suffix == ".gz"  # a damaged table is an error when it is read
    is_cut = kind != "cuts" or str(row.get("type")).endswith("Cut")
    return is_cut and (fields[kind] in row or "tracks" in row)


def _seconds(row: dict[str, Any], name: str, where: str) -> float:
    value = row[name]
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{where}: {name} must be a number of seconds, got {value!r}")
    return float(value)


def _split_of_name(path: Path) -> str:
    words: Sequence[str] = re.split(r"[-_.]", path.name.lower())
    return next((s for s in map(normalize_split, reversed(words)) if s in SPLITS), "")
