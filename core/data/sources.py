"""Where audio comes from: folders, manifests, Parquet files, Hugging Face datasets -> entries.

A source is written ``[DOMAIN=]LOCATION[:SPLIT]``, for example ``speech=~/LibriTTS``,
``corpus/manifest.jsonl:train``, ``music=data/music/train.parquet`` or ``hf:owner/name:train``.
"""

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
from .hub import load_hub_dataset

DEFAULT_DOMAIN = "audio"
MANIFEST_SUFFIXES = (".jsonl", ".csv", ".tsv")
_AUDIO_KEYS = ("audio", "audio_filepath", "audio_path", "path", "file", "wav")
_DOMAIN_KEYS = ("domain", "kind")
# The most speakable first: LibriTTS and LJSpeech have a normalised text beside the printed one.
_TEXT_KEYS = (
    *("text_normalized", "normalized_text", "text", "caption", "sentence", "transcript"),
    *("transcription", "txt", "category", "human_labels"),
)
_SPEAKER_KEYS = ("speaker", "speaker_id", "client_id")
_LABEL_KEYS = ("label", "class")  # of sounds, a word or two; a caption says more
_SPLIT_NAMES = {"val": "valid", "validation": "valid", "dev": "valid", "eval": "valid"}


@dataclass(frozen=True)
class Source:
    """One parsed source."""

    location: str  # a path, or the name of a Hugging Face dataset
    domain: str | None = None  # overrides what the rows say
    split: str | None = None
    hub: bool = False


@dataclass(frozen=True, slots=True)
class Entry:
    """One clip as listed, before anybody has looked into it."""

    id: str
    path: str  # audio file, Parquet file, or hf:NAME:SPLIT
    row: int = -1  # row of a Parquet file or dataset; -1 for an audio file
    domain: str = DEFAULT_DOMAIN
    text: str = ""
    speaker: str = ""
    language: str = ""
    stamp: str = ""  # changes when the content does: size and time of the file
    label: str = ""  # class of a sound

    def identity(self) -> list[str | int]:
        """What audio and codes depend on, for hashes; the class of a sound changes neither."""
        return [getattr(self, name) for name in Entry.__slots__ if name != "label"]


def parse_source(text: str | os.PathLike[str]) -> Source:
    """Take ``[DOMAIN=]LOCATION[:SPLIT]`` apart.

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


def list_entries(sources: Sequence[str | os.PathLike[str]]) -> list[Entry]:
    """All clips of all sources, in an order that depends on nothing but the sources.

    Raises:
        ValueError: A source does not exist or names no audio at all.
    """
    if isinstance(sources, (str, os.PathLike)):
        sources = [sources]
    if not sources:
        raise ValueError("no source of audio was given, expected at least one")
    entries: list[Entry] = []
    seen: dict[str, int] = {}
    for text in sources:
        found = list(_entries_of(parse_source(text)))
        if not found:
            raise ValueError(f"source {os.fspath(text)!r} names no audio: {_what_was_looked_for()}")
        for entry in found:
            entries.append(_with_own_id(entry, seen))
    return entries


def _what_was_looked_for() -> str:
    return (
        f"looked for {' '.join(sorted(AUDIO_SUFFIXES))} .parquet in a folder and its subfolders,"
        " or rows of the wanted split in a table"
    )


def _with_own_id(entry: Entry, seen: dict[str, int]) -> Entry:
    """Ids name clips in reports and dumps, so two sources may not share one."""
    times = seen.get(entry.id, 0)
    seen[entry.id] = times + 1
    if not times:
        return entry
    return dataclasses.replace(entry, id=f"{entry.id}#{times + 1}")


def _entries_of(source: Source) -> Iterator[Entry]:
    if source.hub:
        return _hub_entries(source)
    path = Path(source.location)
    if path.is_dir():
        return _folder_entries(source, path)
    if path.suffix.lower() == ".parquet":
        return _parquet_entries(source, path, whole_file=False)
    if path.suffix.lower() in MANIFEST_SUFFIXES:
        return _manifest_entries(source, path)
    return iter([_file_entry(path, path.name, source, {})])


def _folder_entries(source: Source, folder: Path) -> Iterator[Entry]:
    for suffix in MANIFEST_SUFFIXES:
        if (folder / f"manifest{suffix}").is_file():
            yield from _manifest_entries(source, folder / f"manifest{suffix}")
            return
    for path in sorted(folder.rglob("*")):
        parts = path.relative_to(folder).parts
        suffix = path.suffix.lower()
        if any(part.startswith(".") for part in parts):
            continue
        if suffix == ".parquet":
            yield from _parquet_entries(source, path, whole_file=_names_split(parts, source.split))
        elif suffix in AUDIO_SUFFIXES and path.is_file():
            if source.split is None or _names_split(parts[:-1], source.split):
                yield _file_entry(path, path.relative_to(folder).as_posix(), source, {})


def _names_split(parts: Iterable[str], split: str | None) -> bool:
    """Whether a folder or file name says the split: ``train.parquet``, ``train-00000-of-2``."""
    wanted = normal_split(split)
    return any(normal_split(re.split(r"[-_.]", part)[0]) == wanted for part in parts)


def normal_split(name: str | None) -> str:
    """``validation``, ``dev`` and ``val`` mean ``valid``.

    Example:
        >>> normal_split("Validation")
        'valid'
    """
    lower = (name or "").lower()
    return _SPLIT_NAMES.get(lower, lower)


def _manifest_entries(source: Source, path: Path) -> Iterator[Entry]:
    for number, row in _manifest_rows(path):
        if source.split is not None and normal_split(row.get("split")) != normal_split(
            source.split
        ):
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


def _file_entry(path: Path, name: str, source: Source, row: Mapping[str, Any]) -> Entry:
    try:
        status = path.stat()
        stamp = f"{status.st_size}-{status.st_mtime_ns}"
    except OSError:
        stamp = "missing"
    return Entry(
        id=_text(row, "id") or name, path=str(path), stamp=stamp, **_labels(row, source.domain)
    )


def _text(row: Mapping[str, Any], *keys: str) -> str:
    """The first of the columns that says something; labels in a list are joined."""
    value = next((row[key] for key in keys if row.get(key) not in (None, "", [])), "")
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _labels(row: Mapping[str, Any], domain: str | None) -> dict[str, Any]:
    return {
        "domain": domain or _text(row, *_DOMAIN_KEYS) or DEFAULT_DOMAIN,
        "text": _text(row, *_TEXT_KEYS),
        "speaker": _text(row, *_SPEAKER_KEYS),
        "language": _text(row, "language", "locale"),
        "label": _text(row, *_LABEL_KEYS),
    }


_LABEL_COLUMNS = (
    *("id", "split", *_DOMAIN_KEYS, *_TEXT_KEYS, *_SPEAKER_KEYS, *_LABEL_KEYS),
    *("language", "locale"),
)


def _parquet_entries(source: Source, path: Path, *, whole_file: bool) -> Iterator[Entry]:
    """Rows of one Parquet file; ``whole_file`` says that its name is the split already."""
    import pyarrow.parquet

    with pyarrow.parquet.ParquetFile(path) as file:
        names = file.schema_arrow.names
        audio_column(file.schema_arrow, str(path))
        present = [name for name in _LABEL_COLUMNS if name in names]
        rows = file.read(columns=present).to_pylist() if present else [{}] * file.metadata.num_rows
    if source.split is not None and not whole_file and "split" not in names:
        if not _names_split([path.name], source.split):
            return
        whole_file = True
    status = path.stat()
    stamp = f"{status.st_size}-{status.st_mtime_ns}"
    for number, row in enumerate(rows):
        if source.split is not None and not whole_file:
            if normal_split(row.get("split")) != normal_split(source.split):
                continue
        yield Entry(
            id=_text(row, "id") or f"{path.stem}-{number:06d}",
            path=str(path),
            row=number,
            stamp=stamp,
            **_labels(row, source.domain),
        )


def audio_column(schema: Any, where: str) -> str:
    """The name of the column with audio: ``audio``, or the only one of structure {bytes, path}.

    Raises:
        ValueError: There is none, with the columns that are there.
    """
    if "audio" in schema.names:
        return "audio"
    for field in schema:
        inner = [child.name for child in field.type] if _is_struct(field.type) else []
        if "bytes" in inner:
            return str(field.name)
    raise ValueError(
        f"{where}: no column 'audio' and none of structure {{bytes, path}};"
        f" found {', '.join(schema.names)}"
    )


def _is_struct(kind: Any) -> bool:
    import pyarrow

    return bool(pyarrow.types.is_struct(kind))


def _hub_entries(source: Source) -> Iterator[Entry]:
    split = source.split or "train"
    data = load_hub_dataset(source.location, split)
    present = [name for name in _LABEL_COLUMNS if name in data.column_names]
    labels = data.select_columns(present) if present else None
    stamp = str(getattr(data, "_fingerprint", len(data)))
    for number in range(len(data)):
        row = labels[number] if labels is not None else {}
        yield Entry(
            id=_text(row, "id") or f"{source.location}-{split}-{number:06d}",
            path=f"hf:{source.location}:{split}",
            row=number,
            stamp=stamp,
            **_labels(row, source.domain),
        )
