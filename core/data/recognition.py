"""The layout of a folder, recognized by the files in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from .columns import SourceReport
from .entries import AudioEntry, is_saved_dataset
from .folders import MANIFEST_NAMES, find_manifest
from .layouts import (
    common_voice_tables,
    is_kaldi,
    is_ljspeech,
    kaldi_entries,
    ljspeech_entries,
    nemo_manifests,
)
from .lhotse import lhotse_entries, lhotse_tables

# Entries of a file of a layout: (file, domain or None, split or None, report).
ReadEntries = Callable[[Path, str | None, str | None, SourceReport], Iterator[AudioEntry]]


@dataclass(frozen=True)
class Layout:
    """A layout and the files that are read."""

    name: str  # as in the log
    files: tuple[Path, ...]
    read: ReadEntries | None = None  # of each file; None: a table of rows, or a saved dataset

    def __str__(self) -> str:
        """``Kaldi (wav.scp)``."""
        names = [file.name for file in self.files[:3]] + ["..."] * (len(self.files) > 3)
        return f"{self.name} ({', '.join(names)})"


def find_layout(folder: Path, *, transcripts: bool, split: str | None) -> Layout | None:
    """Return the layout of a folder; None: a folder of files. ``manifest.*`` precedes all others.

    Args:
        folder: Its subfolders are not looked at.
        transcripts: Also look for the layouts that only language models read.
        split: Of the source; None: all.

    Raises:
        ValueError: The folder has files of several layouts, or several manifests.
    """
    manifest = find_manifest(folder)
    if manifest is not None and manifest.name.lower() in MANIFEST_NAMES:
        return Layout("manifest", (manifest,))
    found = [
        Layout("AudioFolder", (manifest,) if manifest else ()),
        Layout(
            "saved dataset", (folder / is_saved_dataset(folder),) * bool(is_saved_dataset(folder))
        ),
        Layout("lhotse", lhotse_tables(folder), lhotse_entries),
        Layout("NeMo", nemo_manifests(folder)),
    ]
    if transcripts or split:
        found.append(Layout("Common Voice", tuple(common_voice_tables(folder, split))))
    if transcripts:
        found += _layouts_of_transcripts(folder)
    found = [layout for layout in found if layout.files]
    if len(found) > 1:
        raise ValueError(
            f"{folder} must have one layout, got {' and '.join(map(str, found))}: pass one of the"
            f" files as the source, such as {found[0].files[0]}"
        )
    return found[0] if found else None


def layout_of_file(file: Path, *, transcripts: bool) -> Layout | None:
    """Return the layout that a file given as a source belongs to; None: an ordinary file.

    Raises:
        ValueError: The lhotse recordings that belong to the file are missing.
    """
    if tables := lhotse_tables(file.parent, file):
        return Layout("lhotse", tables, lhotse_entries)
    layouts = _layouts_of_transcripts(file.parent) if transcripts else []
    return next((layout for layout in layouts if file in layout.files), None)


def _layouts_of_transcripts(folder: Path) -> list[Layout]:
    """Layouts that only language models read; without files if the folder has another one."""
    return [
        Layout("Kaldi", (folder / "wav.scp",) * is_kaldi(folder), kaldi_entries),
        Layout("LJSpeech", (folder / "metadata.csv",) * is_ljspeech(folder), ljspeech_entries),
    ]
