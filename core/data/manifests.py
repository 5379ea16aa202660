"""List the entries of corpora: folders, manifests, Parquet, Hugging Face datasets, layouts.

A source is written ``[DOMAIN=]LOCATION[:SPLIT]``, for example ``speech=~/LibriTTS``,
``corpus/manifest.jsonl:train``, ``music=data/music/train.parquet`` or ``hf:owner/name:train``.
The codec and the language model list corpora through :func:`list_entries`.
"""

from __future__ import annotations

import codecs
import contextlib
import dataclasses
import logging
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..audio import AUDIO_SUFFIXES
from ..reading import reading
from .columns import METADATA_COLUMNS, ROLES, ColumnReader, SourceReport, lower_names
from .entries import (
    DEFAULT_DOMAIN,
    AudioEntry,
    audio_column,
    class_names,
    file_stamp,
    infer_split,
    is_saved_dataset,
    load_hub_dataset,
    normalize_split,
    saved_splits,
)
from .excerpts import has_excerpts, read_excerpt
from .folders import find_audio
from .layouts import librispeech_speaker, read_transcript
from .recognition import Layout, find_layout, layout_of_file
from .sources import Source, parse_source
from .tables import TABLE_SUFFIXES, read_rows
from .webdataset import read_samples

logger = logging.getLogger(__name__)


def list_entries(
    sources: Sequence[str | os.PathLike[str]], *, transcripts: bool = False
) -> list[AudioEntry]:
    """List all clips of all sources, in an order that depends on the sources only.

    One log line per source says which column was taken for what, and what was not read.

    Args:
        sources: As in ``parse_source``.
        transcripts: Also read the files in which corpora keep transcripts (Kaldi, LJSpeech, Common
            Voice, LibriSpeech, a text file beside each audio file), make texts valid UTF-8, and
            leave the domain empty where none is given. For language models, which train on text;
            a codec trains on the audio files of a folder alone.

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
        lister = _Lister(parse_source(text), transcripts)
        found = list(lister.entries())
        lister.report.note_domains(entry.domain for entry in found)
        lister.report.missing = sum(entry.stamp == "missing" for entry in found)
        summary = lister.report.summary()
        if not found:
            raise ValueError(
                f"source {os.fspath(text)!r} names no audio: looked for"
                f" {' '.join(sorted(AUDIO_SUFFIXES))} .parquet in a folder and its subfolders,"
                f" or rows of the split in a table{summary and f' ({summary})'}"
            )
        clips = f"{len(found)} clip{'s' if len(found) > 1 else ''}"
        logger.info("%s: %s%s", os.fspath(text), clips, summary and f"; {summary}")
        entries += [_with_unique_id(entry, counts) for entry in found]
    return entries


def _with_unique_id(entry: AudioEntry, counts: dict[str, int]) -> AudioEntry:
    """Number repeated ids: reports and token rows refer to clips by id."""
    counts[entry.id] = count = counts.get(entry.id, 0) + 1
    return entry if count == 1 else dataclasses.replace(entry, id=f"{entry.id}#{count}")


class _Lister:
    """Lists the entries of one source."""

    def __init__(self, source: Source, transcripts: bool) -> None:
        self.source, self.transcripts = source, transcripts
        self.report = SourceReport()
        self.columns = ColumnReader(self.report)
        self.transcript_tables: dict[Path, dict[str, str]] = {}  # LibriSpeech's, by folder

    def entries(self) -> Iterator[AudioEntry]:
        path = Path(self.source.location)
        layout = None
        if not self.source.hub and path.is_file():
            layout = layout_of_file(path, transcripts=self.transcripts)
        if self.source.hub:
            found = self._hub(self.source.location, self.source.split or "train")
        elif path.is_dir():
            found = self._folder(path)
        elif layout is not None:
            found = self._corpus(path.parent, layout, path.parent.name)
        elif path.suffix.lower() == ".tar":
            found = self._tar(path, path.name)
        elif path.suffix.lower() == ".parquet":
            found = self._parquet(path, path.name)
        elif path.suffix.lower() in TABLE_SUFFIXES:
            found = self._manifest(path, path.name)
        else:
            _refuse_text(path)
            found = iter([self._file(path, path.name, {}, str(path))])
        return map(_cleaned, found) if self.transcripts else found

    def _folder(self, folder: Path) -> Iterator[AudioEntry]:
        layouts: dict[Path, Layout] = {}

        def is_corpus(place: Path) -> bool:
            split = self.source.split
            layout = find_layout(place, transcripts=self.transcripts, split=split)
            if layout is not None:
                layouts[place] = layout
            return layout is not None

        for path in find_audio(folder, is_corpus, self.report):
            name = path.relative_to(folder).as_posix()
            if path in layouts:
                yield from self._corpus(path, layouts[path], name)
            elif path.suffix.lower() == ".parquet":
                yield from self._parquet(path, name)
            elif path.suffix.lower() == ".tar":
                yield from self._tar(path, name)
            elif self.source.split is None or self._names_split(name.split("/")[:-1]):
                split = self.source.split_of_path(path.parent)
                yield self._file(path, name, {}, str(path), split=split)
            else:
                self.report.other_splits += 1

    def _corpus(self, folder: Path, layout: Layout, name: str) -> Iterator[AudioEntry]:
        domain, split = self.source.domain, self.source.split
        self.report.layouts[str(layout)] += 1
        if layout.read is not None:
            for file in layout.files:
                yield from layout.read(file, domain, split, self.report)
        elif layout.name == "saved dataset":
            for part in [split] if split else saved_splits(str(folder)):
                yield from self._hub(str(folder), part or "train", part)
        else:
            for table in layout.files:
                place = table.name if layout.name == "Common Voice" else f"{name}/{table.name}"
                yield from self._manifest(table, place)

    def _names_split(self, parts: Iterable[str]) -> bool:
        """Whether a folder or file name begins with the split: ``train-0-of-2``."""
        name = normalize_split(self.source.split)
        return any(normalize_split(re.split(r"[-_.]", part)[0]) == name for part in parts)

    def _has_split(self, row: Mapping[str, Any], name: str, where: str) -> bool:
        """Whether a row belongs to the split, by its column or else the name of its file."""
        if self.source.split is None:
            return True
        if any(column in row for column in ROLES["split"]):
            split = self.columns.text(row, "split", where)
            matches = normalize_split(split) == normalize_split(self.source.split)
        else:
            matches = self._names_split(name.split("/"))
        self.report.other_splits += not matches
        return matches

    def _manifest(self, path: Path, name: str) -> Iterator[AudioEntry]:
        split = self.source.split_of_path(path)
        excerpts = has_excerpts(path)
        for where, row in read_rows(path):
            self.report.add_columns(row)
            if not self._has_split(row, name, where):
                continue
            audio = self.columns.audio(row, where)
            if "row" in row and (place := _place_of_rows(path.parent, audio)):
                yield self._row_of(*place, row, where, split)
                continue
            start, seconds = read_excerpt(self.columns, row, where) if excerpts else (0.0, None)
            file = _audio_path(path.parent, os.path.expanduser(audio))
            yield self._file(file, audio, row, where, split=split, start=start, seconds=seconds)

    def _row_of(
        self, place: str, file: Path, row: Mapping[str, Any], where: str, split: str
    ) -> AudioEntry:
        """The row of a Parquet file or dataset, or the member of a tar file, of a manifest."""
        number = row["row"]
        if isinstance(number, bool) or not isinstance(number, int) or number < 0:
            raise ValueError(f"{where}: row must be a whole number >= 0, got {number!r}")
        self.report.count_column("row", "row")
        return AudioEntry(
            id=self.columns.text(row, "id", where) or f"{file.stem}-{number:06d}",
            path=place,
            row=number,
            stamp=file_stamp(file),
            **self._metadata(row, where, split),
        )

    def _file(
        self,
        path: Path,
        name: str,
        row: Mapping[str, Any],
        where: str,
        *,
        split: str = "",
        start: float = 0.0,
        seconds: float | None = None,
    ) -> AudioEntry:
        metadata = self._metadata(row, where, split)
        if self.transcripts and not metadata["text"] and not start and seconds is None:
            metadata["text"] = read_transcript(path, self.transcript_tables)
            metadata["speaker"] = metadata["speaker"] or librispeech_speaker(path)
            if metadata["text"]:
                self.report.count_column("text", "files beside the audio")
        return AudioEntry(
            id=self.columns.text(row, "id", where) or name,
            path=str(path),
            stamp=file_stamp(path),
            start=start,
            seconds=seconds,
            **metadata,
        )

    def _metadata(
        self, row: Mapping[str, Any], where: str, split: str, columns: ColumnReader | None = None
    ) -> dict[str, Any]:
        columns = columns or self.columns
        roles = ("domain", "text", "speaker", "language", "label")
        found: dict[str, Any] = {role: columns.text(row, role, where) for role in roles}
        found["domain"] = self.source.domain or found["domain"].lower() or DEFAULT_DOMAIN
        named = self.source.split or columns.text(row, "split", where) or split
        return {**found, "split": infer_split(named)}

    def _parquet(self, path: Path, name: str) -> Iterator[AudioEntry]:
        import pyarrow.parquet

        with reading(path), pyarrow.parquet.ParquetFile(path) as file:
            names = file.schema_arrow.names
            self.report.count_column("audio", audio_column(file.schema_arrow, str(path)).lower())
            self.report.add_columns(lower_names(names, str(path)))
            present = [column for column in names if column.lower() in METADATA_COLUMNS]
            rows = (
                file.read(columns=present).to_pylist() if present else [{}] * file.metadata.num_rows
            )
            columns = ColumnReader(self.report, class_names(file.schema_arrow.metadata))
        stamp, split = file_stamp(path), self.source.split_of_path(path)
        for number, cells in enumerate(rows):
            row = {key.lower(): value for key, value in cells.items()}
            where = f"{path} row {number}"
            if self._has_split(row, name, where):
                yield AudioEntry(
                    id=columns.text(row, "id", where) or f"{path.stem}-{number:06d}",
                    path=str(path),
                    row=number,
                    stamp=stamp,
                    **self._metadata(row, where, split, columns),
                )

    def _tar(self, path: Path, name: str) -> Iterator[AudioEntry]:
        self.report.layouts["WebDataset"] += 1
        stamp, split = file_stamp(path), self.source.split_of_path(path)
        for where, key, place, row in read_samples(path, self.report):
            self.report.add_columns(row)
            if self._has_split(row, name, where):
                yield AudioEntry(
                    id=self.columns.text(row, "id", where) or key,
                    path=str(path),
                    row=place,
                    stamp=stamp,
                    **self._metadata(row, where, split),
                )

    def _hub(self, location: str, split: str, named: str = "") -> Iterator[AudioEntry]:
        data = load_hub_dataset(location, split)
        self.report.count_column("audio", "audio")
        self.report.add_columns(lower_names(data.column_names, f"hf:{location}:{split}"))
        present = [name for name in data.column_names if name.lower() in METADATA_COLUMNS]
        metadata = data.select_columns(present) if present else None
        kinds = {name.lower(): getattr(kind, "names", None) for name, kind in data.features.items()}
        columns = ColumnReader(self.report, {name: kind for name, kind in kinds.items() if kind})
        stamp = str(getattr(data, "_fingerprint", len(data)))
        for number in range(len(data)):
            cells = metadata[number] if metadata is not None else {}
            row = {key.lower(): value for key, value in cells.items()}
            where = f"hf:{location}:{split} row {number}"
            yield AudioEntry(
                id=columns.text(row, "id", where) or f"{location}-{split}-{number:06d}",
                path=f"hf:{location}:{split}",
                row=number,
                stamp=stamp,
                **self._metadata(row, where, named, columns),
            )


def _audio_path(folder: Path, audio: str) -> Path:
    """Path of an audio file of a table in a folder; Common Voice has it in ``clips/``."""
    path, clip = folder / audio, folder / "clips" / audio
    # os.path.exists is False, and Path.exists an error, for names that are too long.
    return clip if not os.path.exists(path) and os.path.exists(clip) else path


def _place_of_rows(folder: Path, audio: str) -> tuple[str, Path] | None:
    """The path of an entry and the file with the rows; None if an audio file is named."""
    if audio.lower().endswith((".parquet", ".tar")):
        return str(folder / audio), folder / audio
    saved = audio.removeprefix("hf:").rpartition(":")[0]  # hf:FOLDER:SPLIT of save_to_disk
    if audio.startswith("hf:") and (file := is_saved_dataset(saved)):
        return audio, Path(saved, file)
    return None


def _refuse_text(path: Path) -> None:
    """Refuse a single file that is text, such as a manifest with another suffix."""
    if path.suffix.lower() in AUDIO_SUFFIXES:
        return
    with open(path, "rb") as file:
        start = file.read(4096)
    with contextlib.suppress(UnicodeDecodeError):
        if start and "\0" not in codecs.getincrementaldecoder("utf-8")().decode(start):
            raise ValueError(
                f"source {path} is a text, not audio; a manifest ends in {' '.join(TABLE_SUFFIXES)}"
            )


def _cleaned(entry: AudioEntry) -> AudioEntry:
    """Strip the strings, replace lone surrogates by ``?``, and clear the default domain.

    Parquet cannot store lone surrogates. Tasks select rows by domain, so unknown domains must stay
    empty.
    """
    values = {
        name: getattr(entry, name).encode("utf-8", "replace").decode("utf-8").strip()
        for name in ("id", "text", "speaker", "language", "domain")
    }
    if values["domain"] == DEFAULT_DOMAIN:
        values["domain"] = ""
    return dataclasses.replace(entry, **values)
