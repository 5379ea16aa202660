"""List the entries of corpora: folders, manifests, Parquet, Hugging Face datasets, layouts.

A source is written ``[DOMAIN=]LOCATION[:SPLIT]``, for example ``speech=~/LibriTTS``,
``corpus/manifest.jsonl:train``, ``music=data/music/train.parquet`` or ``hf:owner/name:train``.
The codec and the language model list corpora through :func:`list_entries`.
"""

from __future__ import annotations

import csv
import dataclasses
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..audio import AUDIO_SUFFIXES
from .entries import (
    DEFAULT_DOMAIN,
    SPLITS,
    AudioEntry,
    audio_column,
    file_stamp,
    infer_split,
    load_hub_dataset,
    normalize_split,
)
from .layouts import is_kaldi, is_ljspeech, kaldi_entries, ljspeech_entries, read_transcript

MANIFEST_SUFFIXES = (".jsonl", ".csv", ".tsv")
_AUDIO_KEYS = ("audio", "audio_filepath", "audio_path", "path", "file", "wav")
_DOMAIN_KEYS = ("domain", "kind")
# Normalized text first: LibriTTS and LJSpeech have it beside the original text.
_TEXT_KEYS = (
    *("text_normalized", "normalized_text", "text", "caption", "sentence", "transcript"),
    *("transcription", "txt", "category", "human_labels"),
)
_SPEAKER_KEYS = ("speaker", "speaker_id", "client_id")
_LANGUAGE_KEYS = ("language", "locale")
_LABEL_KEYS = ("label", "class")  # class of a sound, one or two words
_METADATA_COLUMNS = (
    *("id", "split", *_DOMAIN_KEYS, *_TEXT_KEYS, *_SPEAKER_KEYS, *_LABEL_KEYS, *_LANGUAGE_KEYS),
)


@dataclass(frozen=True)
class Source:
    """One parsed source."""

    location: str  # absolute path, or the name of a Hugging Face dataset
    domain: str | None = None  # overrides the domain of the rows
    split: str | None = None
    hub: bool = False


def parse_source(text: str | os.PathLike[str]) -> Source:
    """Parse ``[DOMAIN=]LOCATION[:SPLIT]``.

    Raises:
        ValueError: There is no such file or folder.

    Example:
        >>> parse_source("speech=hf:owner/name:train")
        Source(location='owner/name', domain='speech', split='train', hub=True)
    """
    location = os.fspath(text)
    domain: str | None = None
    match = re.match(r"([A-Za-z][\w-]*)=(.+)", location)
    if match and not os.path.exists(location):
        domain, location = match[1], match[2]
    if location.startswith("hf:"):
        name, _, split = location[3:].partition(":")
        return Source(name, domain, split or "train", hub=True)
    part: str | None = None
    location = os.path.expanduser(location)
    if not os.path.exists(location) and ":" in location:
        shorter, _, tail = location.rpartition(":")
        if os.path.exists(shorter):
            location, part = shorter, tail
    if not os.path.exists(location):
        raise ValueError(
            f"source {os.fspath(text)!r}: {location} does not exist; expected a folder, a manifest"
            " (.jsonl .csv .tsv), a .parquet file, an audio file or hf:NAME[/CONFIG][:SPLIT]"
        )
    return Source(os.path.abspath(location), domain, part)


def list_entries(
    sources: Sequence[str | os.PathLike[str]], *, transcripts: bool = False
) -> list[AudioEntry]:
    """List all clips of all sources, in an order that depends on the sources only.

    Args:
        sources: As in ``parse_source``.
        transcripts: Also read the files in which corpora keep transcripts (Kaldi, LJSpeech,
            LibriSpeech, a text file beside each audio file), make texts valid UTF-8, and leave
            the domain empty where none is given. For language models, which train on text; a
            codec trains on the audio files of a folder alone.

    Raises:
        ValueError: No source, or a source does not exist, cannot be parsed or has no audio.
    """
    if isinstance(sources, (str, os.PathLike)):
        sources = [sources]
    if not sources:
        raise ValueError("no source of audio was given, expected at least one")
    entries: list[AudioEntry] = []
    counts: dict[str, int] = {}
    for text in sources:
        source = parse_source(text)
        found = list(_transcribed_entries(source) if transcripts else _audio_entries(source))
        if not found:
            raise ValueError(
                f"source {os.fspath(text)!r} names no audio: looked for"
                f" {' '.join(sorted(AUDIO_SUFFIXES))} .parquet in a folder and its subfolders,"
                " or rows of the wanted split in a table"
            )
        entries += [_with_unique_id(entry, counts) for entry in found]
    return entries


def _with_unique_id(entry: AudioEntry, counts: dict[str, int]) -> AudioEntry:
    """Number repeated ids: reports and token rows refer to clips by id."""
    counts[entry.id] = count = counts.get(entry.id, 0) + 1
    return entry if count == 1 else dataclasses.replace(entry, id=f"{entry.id}#{count}")


def _audio_entries(source: Source) -> Iterator[AudioEntry]:
    if source.hub:
        return _hub_entries(source)
    path = Path(source.location)
    if path.is_dir():
        manifest = _manifest_of(path)
        return _manifest_entries(source, manifest) if manifest else _folder_entries(source, path)
    if path.suffix.lower() == ".parquet":
        return _parquet_entries(source, path, whole_file=False)
    if path.suffix.lower() in MANIFEST_SUFFIXES:
        return _manifest_entries(source, path)
    return iter([_file_entry(path, path.name, source, {})])


def _transcribed_entries(source: Source) -> Iterator[AudioEntry]:
    path = Path(source.location)
    if not source.hub and path.is_dir() and not _manifest_of(path):
        if is_kaldi(path):
            yield from kaldi_entries(path, source.domain, source.split)
            return
        if is_ljspeech(path):
            yield from ljspeech_entries(path, source.domain, source.split)
            return
    tables: dict[Path, dict[str, str]] = {}  # LibriSpeech's transcripts by folder
    for entry in _audio_entries(source):
        if not entry.text and entry.row < 0:
            entry = dataclasses.replace(entry, text=read_transcript(Path(entry.path), tables))
        yield _cleaned(entry)


def _cleaned(entry: AudioEntry) -> AudioEntry:
    """Strip the strings, replace lone surrogates by ``?``, and clear the default domain.

    Parquet cannot hold lone surrogates. Tasks select rows by domain, so a domain that nobody gave
    must stay empty.
    """
    values = {
        name: getattr(entry, name).encode("utf-8", "replace").decode("utf-8").strip()
        for name in ("id", "text", "speaker", "language", "domain")
    }
    if values["domain"] == DEFAULT_DOMAIN:
        values["domain"] = ""
    return dataclasses.replace(entry, **values)


def _manifest_of(folder: Path) -> Path | None:
    paths = [folder / f"manifest{suffix}" for suffix in MANIFEST_SUFFIXES]
    return next((path for path in paths if path.is_file()), None)


def _folder_entries(source: Source, folder: Path) -> Iterator[AudioEntry]:
    for path in sorted(folder.rglob("*")):
        parts = path.relative_to(folder).parts
        suffix = path.suffix.lower()
        if any(part.startswith(".") for part in parts):
            continue
        if suffix == ".parquet":
            yield from _parquet_entries(source, path, whole_file=_names_split(parts, source.split))
        elif suffix in AUDIO_SUFFIXES and path.is_file():
            if source.split is None or _names_split(parts[:-1], source.split):
                row = {"split": _split_of_path(path.parent, source)}
                yield _file_entry(path, path.relative_to(folder).as_posix(), source, row)


def _names_split(parts: Iterable[str], split: str | None) -> bool:
    """Whether a folder or file name begins with the split: ``train.parquet``, ``train-0-of-2``."""
    wanted = normalize_split(split)
    return any(normalize_split(re.split(r"[-_.]", part)[0]) == wanted for part in parts)


def _split_of_path(path: Path, source: Source) -> str:
    """The split that the last matching word of a path names, from the source's folder on, or ''."""
    for part in reversed(Path(os.path.relpath(path, os.path.dirname(source.location))).parts):
        for word in re.split(r"[-_.]", part.lower()):
            if normalize_split(word) in SPLITS:
                return normalize_split(word)
    return ""


def _manifest_entries(source: Source, path: Path) -> Iterator[AudioEntry]:
    for number, row in _manifest_rows(path):
        if not _has_split(row, source):
            continue
        audio = next((row[key] for key in _AUDIO_KEYS if row.get(key)), None)
        if isinstance(audio, Mapping):
            audio = audio.get("path")
        if not isinstance(audio, str):
            raise ValueError(
                f"{path} line {number}: no audio file named, expected one of the columns"
                f" {', '.join(_AUDIO_KEYS)}; found {', '.join(row)}"
            )
        yield _file_entry(path.parent / os.path.expanduser(audio), audio, source, row)


def _manifest_rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    with open(path, encoding="utf-8-sig", newline="") as file:
        if path.suffix.lower() != ".jsonl":
            table = csv.DictReader(file, delimiter="\t" if path.suffix.lower() == ".tsv" else ",")
            for row in table:
                yield table.line_num, row
            return
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except json.JSONDecodeError as error:
                raise ValueError(f"{path} line {number}: not JSON ({error})") from error
            if not isinstance(row, dict):
                raise ValueError(f"{path} line {number}: expected a JSON object, got {line[:40]!r}")
            yield number, row


def _has_split(row: Mapping[str, Any], source: Source) -> bool:
    if source.split is None:
        return True
    return normalize_split(_first_value(row, "split")) == normalize_split(source.split)


def _first_value(row: Mapping[str, Any], *keys: str) -> str:
    """The first of the columns that is not empty; the values of a list are joined."""
    value = next((row[key] for key in keys if row.get(key) not in (None, "", [])), "")
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _metadata(row: Mapping[str, Any], source: Source) -> dict[str, Any]:
    return {
        "domain": source.domain or _first_value(row, *_DOMAIN_KEYS) or DEFAULT_DOMAIN,
        "text": _first_value(row, *_TEXT_KEYS),
        "speaker": _first_value(row, *_SPEAKER_KEYS),
        "language": _first_value(row, *_LANGUAGE_KEYS),
        "label": _first_value(row, *_LABEL_KEYS),
        "split": infer_split(source.split or _first_value(row, "split")),
    }


def _file_entry(path: Path, name: str, source: Source, row: Mapping[str, Any]) -> AudioEntry:
    return AudioEntry(
        id=_first_value(row, "id") or name,
        path=str(path),
        stamp=file_stamp(path),
        **_metadata(row, source),
    )


def _parquet_entries(source: Source, path: Path, *, whole_file: bool) -> Iterator[AudioEntry]:
    """Rows of one Parquet file; ``whole_file``: its name already matches the wanted split."""
    import pyarrow.parquet

    with pyarrow.parquet.ParquetFile(path) as file:
        names = file.schema_arrow.names
        audio_column(file.schema_arrow, str(path))
        present = [name for name in _METADATA_COLUMNS if name in names]
        rows = file.read(columns=present).to_pylist() if present else [{}] * file.metadata.num_rows
    if source.split is not None and not whole_file and "split" not in names:
        if not _names_split([path.name], source.split):
            return
        whole_file = True
    stamp = file_stamp(path)
    common = {} if "split" in names else {"split": _split_of_path(path, source)}
    for number, row in enumerate(rows):
        if whole_file or _has_split(row, source):
            yield AudioEntry(
                id=_first_value(row, "id") or f"{path.stem}-{number:06d}",
                path=str(path),
                row=number,
                stamp=stamp,
                **_metadata({**row, **common}, source),
            )


def _hub_entries(source: Source) -> Iterator[AudioEntry]:
    split = source.split or "train"
    data = load_hub_dataset(source.location, split)
    present = [name for name in _METADATA_COLUMNS if name in data.column_names]
    metadata = data.select_columns(present) if present else None
    stamp = str(getattr(data, "_fingerprint", len(data)))
    for number in range(len(data)):
        row = metadata[number] if metadata is not None else {}
        yield AudioEntry(
            id=_first_value(row, "id") or f"{source.location}-{split}-{number:06d}",
            path=f"hf:{source.location}:{split}",
            row=number,
            stamp=stamp,
            **_metadata(row, source),
        )
