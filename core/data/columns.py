"""Roles of the columns of tables and datasets, and a report of the columns that were used."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

# Columns by role; the first that is not empty is used.
ROLES = {
    "audio": (
        *("audio", "audio_filepath", "audio_path", "path", "file", "wav", "file_name", "filename"),
    ),
    "id": ("id",),
    # Normalized text first: LibriTTS and LJSpeech have it beside the original text.
    "text": (
        *("text_normalized", "normalized_text", "text", "caption", "sentence", "transcript"),
        *("transcription", "txt", "category", "human_labels"),
    ),
    "speaker": ("speaker", "speaker_id", "client_id"),
    "language": ("language", "locale"),
    "domain": ("domain", "kind"),
    "label": ("label", "class"),  # class of a sound, one or two words
    "split": ("split",),
    # Seconds into the file (excerpts.py); a duration counts only in manifests that have another.
    "offset": ("offset", "start"),
    "end": ("end",),
    "duration": ("duration",),
}
_METADATA_ROLES = ("id", "split", "domain", "text", "speaker", "label", "language")
# Domains of the built-in tasks, and the one of clips without a domain.
DOMAINS = frozenset({"speech", "sound", "music", "listening", "audio"})
METADATA_COLUMNS = frozenset(column for role in _METADATA_ROLES for column in ROLES[role])


@dataclass
class SourceReport:
    """Report of one source: used and ignored columns, files that were not read."""

    column_counts: dict[str, Counter[str]] = field(default_factory=dict)  # role -> column -> rows
    columns: dict[str, None] = field(default_factory=dict)  # all columns that occurred, in order
    layouts: Counter[str] = field(default_factory=Counter)  # folders by layout
    missing: int = 0  # audio files that do not exist
    other_splits: int = 0  # rows and files of other splits
    unread: Counter[str] = field(default_factory=Counter)  # files by name (tables) or suffix
    notes: list[str] = field(default_factory=list)

    def add_columns(self, columns: Iterable[str]) -> None:
        """Add columns of a table."""
        self.columns.update(dict.fromkeys(columns))

    def count_column(self, role: str, column: str) -> None:
        """Count a row whose column was used for a role."""
        self.column_counts.setdefault(role, Counter())[column] += 1

    def note_domains(self, domains: Iterable[str]) -> None:
        """Note the domains that no task of almtok reads, such as a mistyped one."""
        others = sorted(set(domains) - DOMAINS - {""})
        if others:
            known = ", ".join(sorted(DOMAINS - {"audio"}))
            self.notes.append(f"domain {', '.join(others)}: built-in tasks read {known}")

    def summary(self) -> str:
        """One line: ``audio=path, text=sentence; ignored columns: age, gender``."""
        parts = [
            ", ".join(
                name if count == 1 else f"{count} x {name}" for name, count in self.layouts.items()
            ),
            ", ".join(
                f"{role}={_format_counts(counts)}" for role, counts in self.column_counts.items()
            ),
        ]
        used = {column for counts in self.column_counts.values() for column in counts}
        ignored = [column or "(without a name)" for column in self.columns if column not in used]
        parts.append(f"ignored columns: {', '.join(ignored)}" if ignored else "")
        parts.append(f"{self.missing} audio files missing" if self.missing else "")
        parts.append(f"{self.other_splits} of other splits" if self.other_splits else "")
        found_files = ((name, count) for name, count in self.unread.items() if count)
        unread = [f"{count} {name}" if count > 1 else name for name, count in found_files]
        parts.append(f"files not read: {', '.join(unread)}" if unread else "")
        return "; ".join(part for part in (*parts, *self.notes) if part)


def _format_counts(counts: Counter[str]) -> str:
    if len(counts) == 1:
        return next(iter(counts))
    return " or ".join(f"{column} ({count})" for column, count in counts.items())


@dataclass(frozen=True)
class ColumnReader:
    """Reads the values of a row by role and reports the columns that were used.

    Attributes:
        report: Counts the columns.
        class_names: Names of the integers in a column of classes (``datasets.ClassLabel``).
    """

    report: SourceReport
    class_names: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def audio(self, row: Mapping[str, Any], where: str) -> str:
        """Return the audio file of a row of a manifest.

        Raises:
            ValueError: The row has none, or a name that no file can have.
        """
        for column in ROLES["audio"]:
            value = row.get(column)
            if isinstance(value, Mapping):
                value = value.get("path")
            if isinstance(value, str) and value:
                _check_file_name(value, f"{where}: column {column!r}")
                self.report.count_column("audio", column)
                return value
        raise ValueError(
            f"{where}: one of the columns {', '.join(ROLES['audio'])} must name an audio file,"
            f" got {', '.join(row)}"
        )

    def text(self, row: Mapping[str, Any], role: str, where: str) -> str:
        """Return the first non-empty column of a role as text; '' if all are empty.

        Raises:
            ValueError: A value is not a text, a number or a list of these.
        """
        for column in ROLES[role]:
            if column not in row:
                continue
            value = self._class_name(column, row[column])
            if text := as_text(value, f"{where}: column {column!r}"):
                self.report.count_column(role, column)
                return text
        return ""

    def number(self, row: Mapping[str, Any], column: str, where: str) -> float | None:
        """Return the number of seconds in a column; None if it is empty.

        Raises:
            ValueError: The value is negative or not a number.
        """
        text = as_text(row.get(column), f"{where}: column {column!r}")
        if not text:
            return None
        self.report.count_column(column, column)
        try:
            value = float(text)
        except ValueError:
            value = -1.0
        if not 0 <= value < math.inf:
            raise ValueError(f"{where}: {column} must be a number of seconds >= 0, got {text!r}")
        return value

    def _class_name(self, column: str, value: Any) -> Any:
        names = self.class_names.get(column)
        if names is None or not isinstance(value, int):
            return value
        return names[value] if 0 <= value < len(names) else None  # -1: without a class


def lower_names(names: Iterable[str], where: str) -> list[str]:
    """Names of columns in lower case.

    Raises:
        ValueError: A name occurs twice; the message begins with ``where``.
    """
    lower = [name.lower() for name in names]
    if len(set(lower)) < len(lower):
        doubled = next(name for name, count in Counter(lower).items() if count > 1)
        raise ValueError(f"{where}: column {doubled!r} occurs twice")
    return lower


def _check_file_name(name: str, where: str) -> None:
    try:
        valid = b"\0" not in os.fsencode(name)
    except UnicodeEncodeError:
        valid = False
    if not valid:
        raise ValueError(f"{where} must be the name of a file, got {name[:40]!r}")


def as_text(value: Any, where: str) -> str:
    """Convert a cell to text: '' if missing, integers without a fraction, lists joined.

    Example:
        >>> [as_text(value, "cell") for value in (7, 7.0, None, float("nan"), ["a", "b"])]
        ['7', '7', '', '', 'a, b']

    Raises:
        ValueError: The value is of another kind; the message begins with ``where``.
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, float) and value.is_integer():
        return str(int(value))  # pandas converts integers to floats if one is missing
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, list):
        return ", ".join(filter(None, (as_text(item, where) for item in value)))
    raise ValueError(
        f"{where} must be a text or a number, got {str(value)[:40]!r} ({type(value).__name__})"
    )
