"""What the columns of tables and datasets mean, and a report of what each was taken for."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

# Columns by role; the first that is not empty counts.
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
    # Seconds into the file; a duration counts only in manifests that have an offset.
    "offset": ("offset",),
    "duration": ("duration",),
}
_METADATA_ROLES = ("id", "split", "domain", "text", "speaker", "label", "language")
METADATA_COLUMNS = frozenset(column for role in _METADATA_ROLES for column in ROLES[role])


@dataclass
class SourceReport:
    """What one source was read as."""

    taken: dict[str, Counter[str]] = field(default_factory=dict)  # rows by column, by role
    columns: dict[str, None] = field(default_factory=dict)  # all columns that occurred, in order
    other_splits: int = 0  # rows and files of other splits than the wanted one
    unread: Counter[str] = field(default_factory=Counter)  # files by name (tables) or suffix
    notes: list[str] = field(default_factory=list)

    def saw(self, columns: Iterable[str]) -> None:
        """Remember columns that occur."""
        self.columns.update(dict.fromkeys(columns))

    def took(self, role: str, column: str) -> None:
        """Count a row whose column was taken for a role."""
        self.taken.setdefault(role, Counter())[column] += 1

    def summary(self) -> str:
        """One line: ``audio=path, text=sentence; ignored columns: age, gender``."""
        parts = [", ".join(f"{role}={_counted(found)}" for role, found in self.taken.items())]
        used = {column for found in self.taken.values() for column in found}
        ignored = [column or "(without a name)" for column in self.columns if column not in used]
        parts.append(f"ignored columns: {', '.join(ignored)}" if ignored else "")
        parts.append(f"{self.other_splits} of other splits" if self.other_splits else "")
        unread = [f"{count} {name}" if count > 1 else name for name, count in self.unread.items()]
        parts.append(f"files not read: {', '.join(unread)}" if unread else "")
        return "; ".join(part for part in (*parts, *self.notes) if part)


def _counted(found: Counter[str]) -> str:
    if len(found) == 1:
        return next(iter(found))
    return " or ".join(f"{column} ({count})" for column, count in found.items())


@dataclass(frozen=True)
class ColumnReader:
    """Reads the roles of a row and reports which column it took for each.

    Attributes:
        report: Counts the columns.
        class_names: Names of the integers in a column of classes (``datasets.ClassLabel``).
    """

    report: SourceReport
    class_names: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def audio(self, row: Mapping[str, Any], where: str) -> str:
        """The audio file that a row of a manifest names.

        Raises:
            ValueError: It names none.
        """
        for column in ROLES["audio"]:
            value = row.get(column)
            if isinstance(value, Mapping):
                value = value.get("path")
            if isinstance(value, str) and value:
                self.report.took("audio", column)
                return value
        raise ValueError(
            f"{where}: no audio file named, expected one of the columns"
            f" {', '.join(ROLES['audio'])}; found {', '.join(row)}"
        )

    def text(self, row: Mapping[str, Any], role: str, where: str) -> str:
        """The first column of a role that is not empty, as text; '' if all are.

        Raises:
            ValueError: A value is neither a text nor a number nor a list of these.
        """
        for column in ROLES[role]:
            if column not in row:
                continue
            value = self._named(column, row[column])
            if text := as_text(value, f"{where}: column {column!r}"):
                self.report.took(role, column)
                return text
        return ""

    def number(self, row: Mapping[str, Any], role: str, where: str) -> float | None:
        """The number in the column of a role; None if it is empty.

        Raises:
            ValueError: It is negative or not a number.
        """
        text = self.text(row, role, where)
        if not text:
            return None
        try:
            value = float(text)
        except ValueError:
            value = -1.0
        if not 0 <= value < math.inf:
            raise ValueError(f"{where}: {role} must be a number of seconds >= 0, got {text!r}")
        return value

    def _named(self, column: str, value: Any) -> Any:
        names = self.class_names.get(column)
        if names is None or not isinstance(value, int):
            return value
        return names[value] if 0 <= value < len(names) else None  # -1: without a class


def as_text(value: Any, where: str) -> str:
    """A cell as text: '' if it is missing; whole numbers without a fraction; lists are joined.

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
        return str(int(value))  # pandas makes floats of integers when one is missing
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, list):
        return ", ".join(filter(None, (as_text(item, where) for item in value)))
    raise ValueError(
        f"{where} holds {str(value)[:40]!r} ({type(value).__name__}), expected a text or a number"
    )
