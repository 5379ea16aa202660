"""A source as the user writes it: ``[DOMAIN=]LOCATION[:SPLIT]``."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from .entries import SPLITS, normalize_split


@dataclass(frozen=True)
class Source:
    """One parsed source."""

    location: str  # absolute path, or the name of a Hugging Face dataset
    domain: str | None = None  # overrides the domain of the rows
    split: str | None = None
    hub: bool = False

    def split_of_path(self, path: Path) -> str:
        """The split that the last matching word of a path names, from the source on, or ''."""
        for part in reversed(Path(os.path.relpath(path, os.path.dirname(self.location))).parts):
            for word in re.split(r"[-_.]", part.lower()):
                if normalize_split(word) in SPLITS:
                    return normalize_split(word)
        return ""


def parse_source(text: str | os.PathLike[str]) -> Source:
    """Parse ``[DOMAIN=]LOCATION[:SPLIT]``.

    Raises:
        ValueError: There is no such file or folder.

    Example:
        >>> parse_source("speech=hf:owner/name:train")
        Source(location='owner/name', domain='speech', split='train', hub=True)
    """
    domain, location = split_domain(text)
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
            " (.jsonl .json .csv .tsv), a .parquet file, an audio file or hf:NAME[/CONFIG][:SPLIT]"
        )
    return Source(os.path.abspath(location), domain, part)


def split_domain(text: str | os.PathLike[str]) -> tuple[str | None, str]:
    """Split ``[DOMAIN=]LOCATION[:SPLIT]`` at the domain, which is None if none is given."""
    location = os.fspath(text)
    match = re.match(r"([A-Za-z][\w-]*)=(.+)", location)
    if match and not os.path.exists(location):
        return match[1].lower(), match[2]
    return None, location
