"""Search of audio files and nested corpora in the folder of a corpus."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

from ..audio import AUDIO_SUFFIXES
from ..files import walk
from .columns import SourceReport
from .tables import TABLE_SUFFIXES, read_rows

MANIFEST_NAMES = ("manifest.jsonl", "manifest.csv", "manifest.tsv")
AUDIO_FOLDER_NAMES = ("metadata.jsonl", "metadata.csv")
# Transcripts beside audio files.
_TEXT = re.compile(r"(?P<audio>.+?)(\.normalized|\.original)?(?P<suffix>\.txt|\.lab)", re.I)


def find_manifest(folder: Path) -> Path | None:
    """Return the manifest of a folder: ``manifest.*``, or ``metadata.*`` of an AudioFolder.

    Names are case-insensitive.

    Raises:
        ValueError: There are several manifests.
    """
    wanted = MANIFEST_NAMES + AUDIO_FOLDER_NAMES
    with os.scandir(folder) as files:
        names = {
            file.name.lower(): Path(file.path)
            for file in files
            if file.name.lower() in wanted and file.is_file()
        }
    found = [names[name] for name in MANIFEST_NAMES if name in names]
    if not found:
        tables = [names[name] for name in AUDIO_FOLDER_NAMES if name in names]
        found = [table for table in tables if _names_files(table)]
    if len(found) > 1:
        raise ValueError(
            f"{folder} must have one manifest, got {', '.join(path.name for path in found)}: pass"
            " one of them as the source"
        )
    return found[0] if found else None


def _names_files(table: Path) -> bool:
    """Whether ``metadata.*`` has the column ``file_name`` of Hugging Face's AudioFolder."""
    with open(table, "rb") as file:
        start = file.readline(1 << 16)
    if b"file_name" not in start.replace(b"\0", b"").lower():
        return False  # metadata of another kind, such as LJSpeech's
    return any("file_name" in row for _, row in read_rows(table))


def find_audio(folder: Path, is_corpus: Callable[[Path], bool], report: SourceReport) -> list[Path]:
    """Return the audio files, Parquet and tar files and nested corpora of a folder, sorted.

    Args:
        folder: Root of the search.
        is_corpus: Whether a folder is a corpus with a manifest or layout, which is not searched.
        report: Counts the files that are not read.

    Raises:
        OSError: A folder cannot be read.
    """
    found: list[Path] = []
    for place, folders, names in walk(folder):
        if is_corpus(place):
            found.append(place)
            folders.clear()
            continue
        audio: set[str] = set()
        others = []
        for name in names:
            stem, suffix = os.path.splitext(name)
            if suffix.lower() in (".parquet", ".tar") or suffix.lower() in AUDIO_SUFFIXES:
                found.append(place / name)
                audio.add(stem)
            elif not name.endswith(".trans.txt"):
                others.append(name)
        for name in others:
            suffix = os.path.splitext(name)[1].lower()
            if text := _TEXT.fullmatch(name):
                report.unread[f"{text['suffix']} without audio"] += text["audio"] not in audio
            else:
                report.unread[name if suffix in TABLE_SUFFIXES else suffix or name] += 1
    shards = [path for path in found if path.suffix.lower() == ".tar"]
    if len(shards) < len(found):  # archives beside what was unpacked from them
        report.unread[".tar beside other audio"] += len(shards)
        found = [path for path in found if path not in shards]
    return sorted(found)
