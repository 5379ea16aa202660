"""Corpora that keep their transcripts in files of their own.

* Kaldi data folder: ``wav.scp``, and optionally ``text``, ``utt2spk``, ``utt2lang``, ``segments``;
* LJSpeech: ``metadata.csv`` of lines ``id|text`` or ``id|text|normalized text``, and ``wavs/``;
* Common Voice: ``train.tsv``, ``dev.tsv``, ``test.tsv``, ..., and ``clips/`` (read as manifests);
* NeMo: ``*manifest*.json`` with rows of ``audio_filepath`` (read as manifests);
* one text file beside each audio file: ``a.wav`` and ``a.normalized.txt``, ``a.txt`` or ``a.lab``;
* LibriSpeech: lines ``id text`` in ``*.trans.txt`` beside the audio; LibriSpeech, LibriTTS and MLS
  name the speaker in the folders and file names.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Iterator
from pathlib import Path

from ..audio import AUDIO_SUFFIXES
from ..reading import read_lines
from .columns import SourceReport
from .entries import SPLITS, AudioEntry, file_stamp, normalize_split

# In order of preference; LibriTTS has .normalized.txt beside .original.txt.
_TRANSCRIPT_SUFFIXES = (".normalized.txt", ".txt", ".lab")
# SPEAKER/CHAPTER/SPEAKER-CHAPTER-0001.flac; LibriTTS and MLS have underscores.
_LIBRISPEECH = re.compile(r"(?P<speaker>\d+)[-_](?P<chapter>\d+)[-_]\d+(_\d+)?")


def is_kaldi(folder: Path) -> bool:
    """Whether the folder is a Kaldi data folder."""
    return (folder / "wav.scp").is_file()


def kaldi_entries(
    file: Path, domain: str | None, split: str | None, report: SourceReport
) -> Iterator[AudioEntry]:
    """Entries of a Kaldi data folder, one per utterance.

    Args:
        file: ``wav.scp``.
        domain: By default ``speech``.
        split: By default the first word of the folder's name, if it names a split.
        report: Counts the lines of ``text``, ``utt2spk`` and ``utt2lang`` without an utterance.

    Raises:
        ValueError: A line of ``wav.scp`` is a command (commands are never run), a key occurs twice,
            or ``segments`` cannot be parsed.
    """
    folder, files = file.parent, _kaldi_table(file)
    for name, audio in files.items():
        if not audio or audio.endswith("|"):
            got = f"a command ({audio[:40]}...): commands are not run; write its output to a file"
            where = _place(file, name)
            raise ValueError(f"{where}: {name} must be a file, got {got if audio else 'nothing'}")
    tables = {name: _kaldi_table(folder / name) for name in ("text", "utt2spk", "utt2lang")}
    segments = _kaldi_segments(folder / "segments") or {name: (name, 0.0, None) for name in files}
    for name, table in tables.items():
        if unused := len(table.keys() - segments.keys()):
            report.notes.append(f"{unused} lines of {folder / name} without audio")
    for name, (recording, start, seconds) in segments.items():
        if recording not in files:
            where = _place(folder / "segments", name)
            raise ValueError(f"{where}: {name} is cut from {recording}, not in wav.scp")
        path = folder / files[recording]  # an absolute path stays as it is
        yield AudioEntry(
            id=name,
            path=str(path),
            domain=domain or "speech",
            text=tables["text"].get(name, ""),
            speaker=tables["utt2spk"].get(name, ""),
            language=tables["utt2lang"].get(name, ""),
            stamp=file_stamp(path),
            split=normalize_split(split or _split_of_name(folder)),
            start=start,
            seconds=seconds,
        )


def is_ljspeech(folder: Path) -> bool:
    """Whether the folder has a ``metadata.csv`` whose columns are separated by ``|``."""
    path = folder / "metadata.csv"
    return path.is_file() and "|" in next(
        (line for _, line in read_lines(path) if line.strip()), ""
    )


def ljspeech_entries(
    table: Path, domain: str | None, split: str | None, report: SourceReport
) -> Iterator[AudioEntry]:
    """Entries of ``metadata.csv``: ``id|text`` or ``id|text|normalized text``, without quoting.

    The normalized text is preferred. Audio is searched in ``wavs/``, then beside ``metadata.csv``.

    Raises:
        ValueError: A line has not two or three columns, or an id occurs twice.
    """
    seen: dict[str, int] = {}
    for number, line in read_lines(table):
        if not line.strip():
            continue
        cells = [cell.strip() for cell in line.split("|")]
        if not 2 <= len(cells) <= 3:
            raise ValueError(
                f"{table} line {number}: expected id|text or id|text|normalized text, got"
                f" {len(cells)} columns in {line[:40]!r}"
            )
        _refuse_doubled(cells[0], number, seen, table)
        path = _ljspeech_audio(table.parent, cells[0])
        yield AudioEntry(
            id=cells[0],
            path=str(path),
            domain=domain or "speech",
            text=next((cell for cell in reversed(cells[1:]) if cell), ""),
            stamp=file_stamp(path),
            split=normalize_split(split),
        )


def common_voice_tables(folder: Path, split: str | None) -> list[Path]:
    """Return the tables of a Common Voice folder: of all splits, or of one split."""
    if not (folder / "clips").is_dir():
        return []
    splits = SPLITS if split is None else (normalize_split(split),)
    tables = sorted(path for path in folder.iterdir() if path.suffix.lower() == ".tsv")
    return [path for path in tables if normalize_split(path.stem) in splits]


def nemo_manifests(folder: Path) -> tuple[Path, ...]:
    """Return the NeMo manifests of a folder, such as ``train_manifest.json``.

    Raises:
        ValueError: There are several, and one of them names no split.
    """
    with os.scandir(folder) as files:
        names = sorted(file.name for file in files if "manifest" in file.name.lower())
    found = [folder / name for name in names if _is_nemo(folder / name)]
    unnamed = [path.name for path in found if not _split_in(path.stem)]
    if len(found) > 1 and unnamed:
        raise ValueError(
            f"{folder} has several manifests ({', '.join(path.name for path in found)}), and"
            f" {unnamed[0]} names no split (train, dev, test): pass one of them as the source"
        )
    return tuple(found)


def _is_nemo(path: Path) -> bool:
    if path.suffix.lower() not in (".json", ".jsonl") or not path.is_file():
        return False
    with open(path, "rb") as file:
        start = file.readline(1 << 16)
        while start and not start.strip():
            start = file.readline(1 << 16)
    try:
        row = json.loads(start)
    except (ValueError, RecursionError):
        return b'"audio_filepath"' in start  # a damaged line is an error when it is read
    return isinstance(row, dict) and "audio_filepath" in row


def librispeech_speaker(audio: Path) -> str:
    """Return the speaker that LibriSpeech, LibriTTS and MLS name in the path; '' in others.

    Example:
        >>> librispeech_speaker(Path("train-clean-100/19/198/19-198-0000.flac"))
        '19'
    """
    match = _LIBRISPEECH.fullmatch(audio.stem)
    if match is None or [match["speaker"], match["chapter"]] != list(audio.parts[-3:-1]):
        return ""
    return match["speaker"]


def read_transcript(audio: Path, tables: dict[Path, dict[str, str]]) -> str:
    """Read the transcript of an audio file from its folder; '' if there is none.

    Args:
        audio: The audio file.
        tables: Cache of the ``*.trans.txt`` files that were read, by folder; extended here.

    Raises:
        ValueError: A file is not UTF-8, or an id of a ``*.trans.txt`` occurs twice.
    """
    for suffix in _TRANSCRIPT_SUFFIXES:
        path = audio.with_suffix(suffix)
        if os.path.isfile(path):  # an error of Path.is_file for names that are too long
            return " ".join("".join(line for _, line in read_lines(path)).split())
    folder = audio.parent
    if folder not in tables:
        tables[folder] = {}
        for table in sorted(folder.glob("*.trans.txt")):
            tables[folder].update(_kaldi_table(table))
    return tables[folder].get(audio.stem, "")


def _ljspeech_audio(folder: Path, name: str) -> Path:
    suffixes = ("",) if Path(name).suffix.lower() in AUDIO_SUFFIXES else (".wav", ".flac", ".ogg")
    paths = [folder / parent / f"{name}{end}" for parent in ("wavs", "") for end in suffixes]
    return next((path for path in paths if os.path.isfile(path)), paths[0])


def _kaldi_table(path: Path) -> dict[str, str]:
    """Lines ``key value``; a missing file gives an empty table."""
    if not path.is_file():
        return {}
    table: dict[str, str] = {}
    seen: dict[str, int] = {}
    for number, line in read_lines(path):
        cells = _cells(line)
        if cells[0]:
            _refuse_doubled(cells[0], number, seen, path)
            table[cells[0]] = cells[1] if len(cells) > 1 else ""
    return table


def _place(path: Path, key: str) -> str:
    """``FILE line N`` of the line that begins with a key."""
    return f"{path} line {next(n for n, line in read_lines(path) if _cells(line)[0] == key)}"


def _cells(line: str) -> list[str]:
    """Key and value; other white space, such as U+00A0, may occur in both."""
    return re.split(r"[ \t]+", line.strip(), maxsplit=1)


def _refuse_doubled(key: str, number: int, seen: dict[str, int], path: Path) -> None:
    first = seen.setdefault(key, number)
    if first != number:
        raise ValueError(f"{path} line {number}: {key!r} was already in line {first}")


def _kaldi_segments(path: Path) -> dict[str, tuple[str, float, float | None]]:
    segments: dict[str, tuple[str, float, float | None]] = {}
    for name, rest in _kaldi_table(path).items():
        cells = rest.split()
        try:
            file, start, end = cells[0], float(cells[1]), float(cells[2])
        except (IndexError, ValueError):
            raise ValueError(
                f"{_place(path, name)}: expected 'utterance recording start end', got {name}"
                f" {rest!r}"
            ) from None
        if not 0 <= start < math.inf or not (end < 0 or start < end < math.inf):
            raise ValueError(
                f"{_place(path, name)}: {name} must be 0 <= start < end, got {start} to {end} s"
            )
        segments[name] = (file, start, None if end < 0 else end - start)  # -1: to the end
    return segments


def _split_in(name: str) -> str:
    words = map(normalize_split, re.split(r"[-_.]", name.lower()))
    return next((word for word in words if word in SPLITS), "")


def _split_of_name(folder: Path) -> str:
    word = folder.name.lower().replace("-", "_").split("_")[0]
    return word if normalize_split(word) in SPLITS else ""
