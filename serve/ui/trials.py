"""Sessions of listening tests: what is heard in which order. A browser never gets these objects."""

from __future__ import annotations

import random
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace

from .listening_items import ANCHOR, REFERENCE, ListeningItems

_RANDOM = random.SystemRandom()


@dataclass(frozen=True)
class AbxTrial:
    """One trial: A and B are two systems in random order, X is one of them."""

    item: str
    a: str
    b: str
    x: str

    def correct(self, answer: str) -> bool:
        """Whether `answer`, "A" or "B", names X."""
        return {"A": self.a, "B": self.b}[answer] == self.x


@dataclass(frozen=True)
class AbxSession:
    """Trials of one listener and one pair of systems."""

    id: str
    listener: str
    trials: tuple[AbxTrial, ...]
    position: int = 0
    right: int = 0

    @property
    def trial(self) -> AbxTrial | None:
        """The present trial; None after the last one."""
        return self.trials[self.position] if self.position < len(self.trials) else None

    def after(self, correct: bool) -> AbxSession:
        """The session after an answer."""
        return replace(self, position=self.position + 1, right=self.right + correct)


@dataclass(frozen=True)
class MushraPage:
    """One clip and its stimuli in random order: the systems, the hidden reference, the anchor."""

    item: str
    stimuli: tuple[str, ...]


@dataclass(frozen=True)
class MushraSession:
    """Pages of one listener."""

    id: str
    listener: str
    pages: tuple[MushraPage, ...]
    position: int = 0

    @property
    def page(self) -> MushraPage | None:
        """The present page; None after the last one."""
        return self.pages[self.position] if self.position < len(self.pages) else None

    def after(self) -> MushraSession:
        """The session after a page."""
        return replace(self, position=self.position + 1)


def new_abx(items: ListeningItems, pair: Sequence[str], count: int, listener: str) -> AbxSession:
    """Draw the trials of a pair of systems; every clip occurs before one is repeated.

    Raises:
        ValueError: the systems are the same or unknown.
    """
    first, second = pair
    if first == second or not {first, second} <= set(items.systems):
        raise ValueError(f"ABX compares two different systems, got {first!r} and {second!r}.")
    names: list[str] = []
    while len(names) < count:
        names += _shuffled(items.names)
    trials = []
    for name in names[:count]:
        a, b = _shuffled((first, second))
        trials.append(AbxTrial(name, a, b, _RANDOM.choice((a, b))))
    return AbxSession(secrets.token_hex(8), listener, tuple(trials))


def new_mushra(items: ListeningItems, listener: str) -> MushraSession:
    """Draw the order of the pages and of the stimuli of each.

    Raises:
        ValueError: there is no reference.
    """
    if REFERENCE not in items.systems:
        raise ValueError(f"MUSHRA needs originals: a subfolder {REFERENCE!r} beside the systems.")
    stimuli = (*items.systems, ANCHOR)
    pages = [MushraPage(name, tuple(_shuffled(stimuli))) for name in _shuffled(items.names)]
    return MushraSession(secrets.token_hex(8), listener, tuple(pages))


def _shuffled(values: Sequence[str]) -> list[str]:
    return _RANDOM.sample(list(values), len(values))
