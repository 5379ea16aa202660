"""Written words and the words that they are spoken as: "12" is "twelve", "$5" "five dollars".

A normalizer rewrites a whole text, so it does not tell which word became which. The words are
aligned afterwards: each written word gets a run of spoken words, in order, such that the runs are
most similar to what the written words are spoken as by themselves.

Shapes: `M` written words, `N` spoken words.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from functools import partial

from .normalize import NothingToSay, plain

_LONGEST_RUN = 40  # spoken words of one written word, such as a long number
_MOST_CELLS = 40_000  # of a table; stretches without a common word are shared out evenly above it


def map_words(
    written: Sequence[str], spoken: Sequence[str], speak: Callable[[str], str]
) -> list[tuple[int, int]]:
    """The run of spoken words of each written word.

    Args:
        written: `M` words, with punctuation.
        spoken: `N` words that the whole text is spoken as.
        speak: writes one written word out; raises ValueError if it cannot be said.

    Returns:
        For each written word, its first spoken word and the one after its last. The runs follow
        one another and cover all spoken words, if any word is written. Words without a sound have
        empty runs.

    Example:
        >>> map_words(["At", "5:30,", "-", "he"], ["at", "five", "thirty", "he"], {
        ...     "At": "at", "5:30,": "five thirty", "-": "", "he": "he"}.__getitem__)
        [(0, 1), (1, 3), (3, 3), (3, 4)]
    """
    forms = [plain(word) for word in written]
    said = [plain(word) or word for word in spoken]
    runs: list[tuple[int, int]] = []
    # Words that are spoken as they are written part the text into short stretches.
    alike = difflib.SequenceMatcher(None, forms, said, autojunk=False).get_matching_blocks()
    i = j = 0
    for match in alike:
        stretch = [_spoken_form(word, speak) for word in written[i : match.a]]
        runs += _runs(stretch, said[j : match.b], j)
        runs += [(match.b + k, match.b + k + 1) for k in range(match.size)]
        i, j = match.a + match.size, match.b + match.size
    # Spoken words of no run ("million" -> "million dollars") belong to the written word before.
    starts = [0, *(start for start, _ in runs[1:]), len(spoken)]
    return list(zip(starts, starts[1:], strict=False)) if runs else []


def _spoken_form(word: str, speak: Callable[[str], str]) -> str:
    try:
        return plain(speak(word))
    except NothingToSay:
        return ""
    except ValueError:
        return plain(word)


def _runs(forms: Sequence[str], said: Sequence[str], offset: int) -> list[tuple[int, int]]:
    """Runs of a stretch, by dynamic programming over (written words, spoken words)."""
    if len(forms) == 1:
        return [(offset, offset + len(said))]
    if not forms or not said:
        return [(offset, offset)] * len(forms)
    if len(forms) * len(said) > _MOST_CELLS:
        cuts = [offset + len(said) * k // len(forms) for k in range(len(forms) + 1)]
        return list(zip(cuts, cuts[1:], strict=False))
    best = [0.0] + [float("-inf")] * len(said)  # by the number of spoken words
    choices = []
    for form in forms:
        gain = partial(_similarity, form)
        row, starts = [], []
        for stop in range(len(said) + 1):
            first = max(0, stop - _LONGEST_RUN)
            scores = [best[start] + gain(said[start:stop]) for start in range(first, stop + 1)]
            top = max(range(len(scores)), key=scores.__getitem__)
            row.append(scores[top])
            starts.append(first + top)
        best = row
        choices.append(starts)
    runs, stop = [], len(said)
    for starts in reversed(choices):
        runs.append((offset + starts[stop], offset + stop))
        stop = starts[stop]
    return runs[::-1]


def _similarity(form: str, said: Sequence[str]) -> float:
    """How many characters agree, minus those that do not."""
    other = " ".join(said)
    if not form or not other:
        return -float(len(form) + len(other))
    match = difflib.SequenceMatcher(None, form, other, autojunk=False)
    equal = sum(block.size for block in match.get_matching_blocks())
    return float(4 * equal - len(form) - len(other))
