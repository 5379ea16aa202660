"""One recording as listed: where its audio is and what is known about it."""

from __future__ import annotations

from dataclasses import dataclass

from ...core.data.sources import Entry


@dataclass(frozen=True, slots=True)
class Recording:
    """An entry of the codec's listing, with what only the language model asks for."""

    entry: Entry
    split: str = ""  # train, valid, test, or what the corpus calls it
    start: float = 0.0  # seconds into the file
    seconds: float | None = None  # None: to the end

    @property
    def id(self) -> str:
        """Name in reports and evaluations, unique in a run."""
        return self.entry.id
