"""What there is to tokenize: the codec's sources, and the layouts that corpora with texts have.

Beside everything that ``codec.data.sources`` reads (folders, manifests, Parquet, ``hf:NAME:SPLIT``;
written ``[DOMAIN=]LOCATION[:SPLIT]``), a folder may be

* a Kaldi data folder: ``wav.scp``, and ``text``, ``utt2spk``, ``utt2lang``, ``segments`` if there;
* LJSpeech-like: ``metadata.csv`` of lines ``id|text`` or ``id|text|normalised text`` and ``wavs/``;
* audio files with texts beside them: ``a.wav`` and ``a.txt``, ``a.lab`` or ``a.normalized.txt``;
* LibriSpeech-like: lines ``id text`` in ``*.trans.txt`` beside the audio.
"""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import json
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from ...core.data.sources import (
    DEFAULT_DOMAIN,
    MANIFEST_SUFFIXES,
    Entry,
    Source,
    list_entries,
    normal_split,
    parse_source,
)
from .corpora import is_kaldi, is_ljspeech, kaldi_recordings, ljspeech_recordings, text_beside
from .recordings import Recording

_SPLITS = ("train", "valid", "test")


def list_recordings(sources: Sequence[str | os.PathLike[str]]) -> list[Recording]:
    """All recordings of all sources, in an order that depends on nothing but the sources.

    Raises:
        ValueError: A source does not exist, cannot be understood or names no audio at all.
    """
    if isinstance(sources, (str, os.PathLike)):
        sources = [sources]
    if not sources:
        raise ValueError("no source of audio was given, expected at least one")
    found: list[Recording] = []
    seen: dict[str, int] = {}
    for text in sources:
        before = len(found)
        for recording in _recordings_of(text):
            found.append(_with_own_id(recording, seen))
        if len(found) == before:
            raise ValueError(f"source {os.fspath(text)!r} names no audio")
    return found


def with_splits(
    recordings: Sequence[Recording], valid_share: float, test_share: float = 0.0
) -> list[Recording]:
    """Give recordings without a split one, by a hash of their text or id.

    Args:
        recordings: As listed.
        valid_share: Of them, about.
        test_share: Of them, about; if both are 0 nothing changes.
    """
    if not valid_share and not test_share:
        return list(recordings)
    return [_with_split(recording, valid_share, test_share) for recording in recordings]


def _with_split(recording: Recording, valid_share: float, test_share: float) -> Recording:
    if recording.split:
        return recording
    words = (recording.entry.text.lower() or recording.id).encode()
    number = int.from_bytes(hashlib.sha256(words).digest()[:8], "big")
    place = number / 2**64
    split = "valid" if place < valid_share else "train"
    split = "test" if valid_share <= place < valid_share + test_share else split
    return dataclasses.replace(recording, split=split)


def _recordings_of(text: str | os.PathLike[str]) -> Iterator[Recording]:
    source = parse_source(text)
    path = Path(source.location)
    if not source.hub and path.is_dir() and not _has_manifest(path):
        if is_kaldi(path):
            return kaldi_recordings(path, source)
        if is_ljspeech(path):
            return ljspeech_recordings(path, source)
    return _listed(text, source)


def _has_manifest(folder: Path) -> bool:
    return any((folder / f"manifest{suffix}").is_file() for suffix in MANIFEST_SUFFIXES)


def _listed(text: str | os.PathLike[str], source: Source) -> Iterator[Recording]:
    """What the codec's own listing finds, with the split of each row and texts beside files."""
    entries = list_entries([text])
    splits = _splits_of(source, entries)
    texts: dict[Path, dict[str, str]] = {}  # LibriSpeech's transcripts, by folder
    for entry, split in zip(entries, splits, strict=True):
        beside = not entry.text and entry.row < 0 and not entry.path.startswith("hf:")
        if beside and (words := text_beside(Path(entry.path), texts)):
            entry = dataclasses.replace(entry, text=words)
        yield Recording(_clean(entry), split)


def _splits_of(source: Source, entries: Sequence[Entry]) -> list[str]:
    if source.split is not None or source.hub:
        return [split_kind(source.split)] * len(entries)
    path = Path(source.location)
    for suffix in MANIFEST_SUFFIXES:
        if path.is_dir() and (path / f"manifest{suffix}").is_file():
            path = path / f"manifest{suffix}"
            break
    if path.suffix.lower() in MANIFEST_SUFFIXES and path.is_file():
        return _manifest_splits(path)  # one per row, in the order of the rows
    columns: dict[str, list[str] | None] = {}
    return [_split_of(entry, source.location, columns) for entry in entries]


def split_kind(name: str | None) -> str:
    """What a corpus's own name of a split means: train, valid, test, or the name itself.

    Example:
        >>> [split_kind(name) for name in ("train.clean.100", "dev-other", "full[:90%]", "fold3")]
        ['train', 'valid', 'train', 'fold3']
    """
    plain = normal_split(name)
    first = normal_split(re.split(r"[\W_]", plain)[0])
    if plain in _SPLITS or first not in (*_SPLITS, "full", "all"):
        return plain
    return "train" if first in ("full", "all") else first


def _split_of(entry: Entry, root: str, columns: dict[str, list[str] | None]) -> str:
    """The split that a Parquet row says, or that the name of the file or its folders says."""
    if entry.row >= 0:
        if entry.path not in columns:
            columns[entry.path] = _parquet_splits(entry.path)
        column = columns[entry.path]
        if column is not None:
            return column[entry.row]
    parts = Path(os.path.relpath(entry.path, os.path.dirname(root))).parts
    named = parts if entry.row >= 0 else parts[:-1]  # an audio file's own name says nothing
    for part in reversed(named):
        for word in part.lower().replace("-", ".").replace("_", ".").split("."):
            if normal_split(word) in _SPLITS:
                return normal_split(word)
    return ""


def _parquet_splits(path: str) -> list[str] | None:
    import pyarrow.parquet

    with pyarrow.parquet.ParquetFile(path) as file:
        if "split" not in file.schema_arrow.names:
            return None
        return [split_kind(name) for name in file.read(columns=["split"])["split"].to_pylist()]


def _manifest_splits(path: Path) -> list[str]:
    with open(path, encoding="utf-8-sig", newline="") as file:
        if path.suffix.lower() == ".jsonl":
            rows = [json.loads(line) for line in file if line.strip()]
        else:
            rows = list(csv.DictReader(file, delimiter="\t" if path.suffix == ".tsv" else ","))
    return [split_kind(row.get("split")) for row in rows]


def _with_own_id(recording: Recording, seen: dict[str, int]) -> Recording:
    """Ids name rows in reports and evaluations, so two sources may not share one."""
    name = recording.entry.id
    times = seen.get(name, 0)
    seen[name] = times + 1
    if not times:
        return recording
    entry = dataclasses.replace(recording.entry, id=f"{name}#{times + 1}")
    return dataclasses.replace(recording, entry=entry)


def _clean(entry: Entry) -> Entry:
    """Texts that Parquet can hold (half of a surrogate pair becomes ?), and no domain by default.

    Tasks choose rows by domain, so one that nobody has named must not look like a name.
    """
    values = {
        name: getattr(entry, name).encode("utf-8", "replace").decode("utf-8").strip()
        for name in ("id", "text", "speaker", "language", "domain")
    }
    if values["domain"] == DEFAULT_DOMAIN:
        values["domain"] = ""
    return dataclasses.replace(entry, **values)
