"""Word alignment of two texts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ...lm.text.normalize import plain

Kind = Literal["same", "other", "missing", "extra"]
# Costs: minimise errors first, then maximise the number of equal words.
_ERROR = 1 << 32


@dataclass(frozen=True)
class Word:
    """One step of the alignment."""

    kind: Kind
    wanted: str  # "" where extra
    heard: str  # "" where missing


@dataclass(frozen=True)
class Diff:
    """An alignment with the fewest errors; `str` shows it in one line."""

    words: tuple[Word, ...]

    @property
    def errors(self) -> int:
        """Word errors: missing, extra and substituted words."""
        return sum(word.kind != "same" for word in self.words)

    @property
    def rate(self) -> float:
        """Word errors per reference word (at least one); may exceed 1."""
        return self.errors / max(1, sum(word.kind != "extra" for word in self.words))

    def count(self, kind: Kind) -> int:
        """Number of steps of one kind."""
        return sum(word.kind == kind for word in self.words)

    def __str__(self) -> str:
        shown = {
            "same": lambda word: word.wanted,
            "other": lambda word: f"[{word.wanted} -> {word.heard}]",
            "missing": lambda word: f"[-{word.wanted}-]",
            "extra": lambda word: f"[+{word.heard}+]",
        }
        return " ".join(shown[word.kind](word) for word in self.words)


def word_diff(wanted: str, heard: str) -> Diff:
    """Align the words of two texts, ignoring case and punctuation.

    Example:
        >>> print(word_diff("The cat sat down.", "a cat sat sat"))
        [the -> a] cat sat [down -> sat]
    """
    return align(plain(wanted).split(), plain(heard).split())


def align(wanted: Sequence[str], heard: Sequence[str]) -> Diff:
    """Align lists of words with the fewest errors, and among these the most equal words."""
    costs = _costs(wanted, heard)
    steps: list[Word] = []
    i, j = len(wanted), len(heard)
    while i or j:
        if i and j and costs[i][j] == costs[i - 1][j - 1] + _cost(wanted[i - 1], heard[j - 1]):
            i, j = i - 1, j - 1
            kind: Kind = "same" if wanted[i] == heard[j] else "other"
            steps.append(Word(kind, wanted[i], heard[j]))
        elif i and costs[i][j] == costs[i - 1][j] + _ERROR:
            i -= 1
            steps.append(Word("missing", wanted[i], ""))
        else:
            j -= 1
            steps.append(Word("extra", "", heard[j]))
    return Diff(tuple(reversed(steps)))


def _cost(word: str, other: str) -> int:
    return -1 if word == other else _ERROR


def _costs(wanted: Sequence[str], heard: Sequence[str]) -> list[list[int]]:
    """`costs[i][j]`: minimal cost of aligning the first i and the first j words."""
    costs = [[j * _ERROR for j in range(len(heard) + 1)]]
    for i, word in enumerate(wanted, start=1):
        above, row = costs[-1], [i * _ERROR]
        for j, other in enumerate(heard, start=1):
            row.append(min(above[j - 1] + _cost(word, other), above[j] + _ERROR, row[-1] + _ERROR))
        costs.append(row)
    return costs
