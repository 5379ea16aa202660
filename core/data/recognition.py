"""The layout of a folder, recognized by the files in it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from .entries import is_saved_dataset
from .folders import MANIFEST_NAMES, find_manifest
from .layouts import common_voice_tables, is_kaldi, is_ljspeech, nemo_manifests
from .lhotse import lhotse_tables


@dataclass(frozen=True)
class Layout:
    """A layout and the files that are read."""

    name: str  # as in the log
    files: tuple[Path, ...]

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
        Layout("lhotse", lhotse_tables(folder)),
        Layout("NeMo", nemo_manifests(folder)),
    ]
    if transcripts or split:
        found.append(Layout("Common Voice", tuple(common_voice_tables(folder, split))))
    if transcripts:
        found.append(Layout("Kaldi", (folder / "wav.scp",) * is_kaldi(folder)))
        found.append(Layout("LJSpeech", (folder / "metadata.csv",) * is_ljspeech(folder)))
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
        return Layout("lhotse", tables)
    if transcripts and file.name == "wav.scp":
        return Layout("Kaldi", (file,))
    if transcripts and file.name == "metadata.csv" and is_ljspeech(file.parent):
        return Layout("LJSpeech", (file,))
    return None
