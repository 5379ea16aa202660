"""Word alignment of two texts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ...lm.text.normalize import plain

Kind = Literal["equal", "substitution", "deletion", "insertion"]
# Costs: minimise errors first, then maximise the number of equal words.
_ERROR = 1 << 32


@dataclass(frozen=True)
class Word:
    """One step of the alignment."""

    kind: Kind
    reference: str  # "" for an insertion
    hypothesis: str  # "" for a deletion


@dataclass(frozen=True)
class Diff:
    """An alignment with the fewest errors; `str` shows it in one line."""

    words: tuple[Word, ...]

    @property
    def errors(self) -> int:
        """Word errors: substitutions, deletions and insertions."""
        return sum(word.kind != "equal" for word in self.words)

    @property
    def rate(self) -> float:
        """Word errors per reference word (at least one); may exceed 1."""
        return self.errors / max(1, sum(word.kind != "insertion" for word in self.words))

    def count(self, kind: Kind) -> int:
        """Number of steps of one kind."""
        return sum(word.kind == kind for word in self.words)

    def __str__(self) -> str:
        shown = {
            "equal": lambda word: word.reference,
            "substitution": lambda word: f"[{word.reference} -> {word.hypothesis}]",
            "deletion": lambda word: f"[-{word.reference}-]",
            "insertion": lambda word: f"[+{word.hypothesis}+]",
        }
        return " ".join(shown[word.kind](word) for word in self.words)


def word_diff(reference: str, hypothesis: str) -> Diff:
    """Align the words of two texts, ignoring case and punctuation.

    Example:
        >>> print(word_diff("The cat sat down.", "a cat sat sat"))
        [the -> a] cat sat [down -> sat]
    """
    return align(plain(reference).split(), plain(hypothesis).split())


def align(reference: Sequence[str], hypothesis: Sequence[str]) -> Diff:
    """Align lists of words with the fewest errors, and among these the most equal words."""
    costs = _costs(reference, hypothesis)
    steps: list[Word] = []
    i, j = len(reference), len(hypothesis)
    while i or j:
        if (
            i
            and j
            and costs[i][j] == costs[i - 1][j - 1] + _cost(reference[i - 1], hypothesis[j - 1])
        ):
            i, j = i - 1, j - 1
            kind: Kind = "equal" if reference[i] == hypothesis[j] else "substitution"
            steps.append(Word(kind, reference[i], hypothesis[j]))
        elif i and costs[i][j] == costs[i - 1][j] + _ERROR:
            i -= 1
            steps.append(Word("deletion", reference[i], ""))
        else:
            j -= 1
            steps.append(Word("insertion", "", hypothesis[j]))
    return Diff(tuple(reversed(steps)))


def _cost(word: str, other: str) -> int:
    return -1 if word == other else _ERROR


def _costs(reference: Sequence[str], hypothesis: Sequence[str]) -> list[list[int]]:
    """`costs[i][j]`: minimal cost of aligning the first i and the first j words."""
    costs = [[j * _ERROR for j in range(len(hypothesis) + 1)]]
    for i, word in enumerate(reference, start=1):
        above, row = costs[-1], [i * _ERROR]
        for j, other in enumerate(hypothesis, start=1):
            row.append(min(above[j - 1] + _cost(word, other), above[j] + _ERROR, row[-1] + _ERROR))
        costs.append(row)
    return costs
