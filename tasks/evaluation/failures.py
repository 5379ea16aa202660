"""Failures of synthetic speech: no end, skipped or repeated words, silence, tempo; by text length.

A mean WER hides rare but severe failures, so each utterance is classified, and failure rates are
given by the length of the text.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ...core.metrics.intervals import Interval, rate_interval
from ...lm.text.normalize import plain
from ..duration import USUAL, SpeakingRate, units
from .diff import Diff, word_diff

KINDS = ("no_stop", "early_stop", "skip", "repeat", "silent", "tempo")
# Classes of text length, in words.
LENGTHS = ((1, 3), (4, 8), (9, 16), (17, 40), (41, 10**9))
# Deleted or repeated words in a row that count as a failure: three, and a third of the text.
_RUN, _SHARE = 3, 1 / 3
_SLOWEST, _QUICKEST = 0.5, 2.0  # of the usual tempo


@dataclass(frozen=True, kw_only=True)
class Utterance:
    """One utterance and its transcript."""

    text: str
    transcript: str
    seconds: float
    ended: bool  # by the model's own end token
    reference_seconds: float | None = None  # of a recording of the text


@dataclass(frozen=True)
class Verdict:
    """Failures of an utterance."""

    kinds: tuple[str, ...]  # of KINDS; empty if there is none
    diff: Diff
    rate_ratio: float  # see rate_ratio

    @property
    def failed(self) -> bool:
        """Whether there is any failure."""
        return bool(self.kinds)


@dataclass(frozen=True)
class FailureRow:
    """Failure rates of texts of one length class."""

    words: tuple[int, int]  # least and most
    rate: Interval
    by_kind: dict[str, float]


def judge(utterance: Utterance, *, pace: SpeakingRate = USUAL) -> Verdict:
    """Classify the failures of an utterance."""
    diff = word_diff(utterance.text, utterance.transcript)
    num_words = max(1, len(plain(utterance.text).split()))
    run = max(_RUN, num_words * _SHARE) if num_words > _RUN else num_words
    deleted, at_end = _longest_run(diff, "deletion")
    repeats = _repeated(utterance.transcript) - _repeated(utterance.text)
    ratio = rate_ratio(utterance, pace)
    kinds = []
    if not utterance.ended:
        kinds.append("no_stop")
    if not utterance.transcript.strip():
        kinds.append("silent")
    elif deleted >= run:
        kinds.append("early_stop" if at_end else "skip")
    if repeats >= min(_RUN, num_words):
        kinds.append("repeat")
    if not _SLOWEST <= ratio <= _QUICKEST:
        kinds.append("tempo")
    return Verdict(tuple(kinds), diff, ratio)


def rate_ratio(utterance: Utterance, pace: SpeakingRate = USUAL) -> float:
    """Tempo relative to the reference recording, or to the usual pace; 2 is twice as fast."""
    usual = utterance.reference_seconds or pace.usual * units(utterance.text)
    return usual / utterance.seconds if utterance.seconds > 0 else float("inf")


def failure_table(
    utterances: Iterable[Utterance], *, pace: SpeakingRate = USUAL
) -> list[FailureRow]:
    """Failure rates by text length, then of all texts; empty length classes are left out."""
    verdicts = [
        (len(plain(utterance.text).split()), judge(utterance, pace=pace))
        for utterance in utterances
    ]
    rows = []
    for least, most in (*LENGTHS, (1, 10**9)):
        inside = [verdict for words, verdict in verdicts if least <= max(1, words) <= most]
        if inside:
            failed = [float(verdict.failed) for verdict in inside]
            rate = rate_interval(failed, [1.0] * len(inside))
            rows.append(FailureRow((least, most), rate, _shares(inside)))
    return rows


def _shares(verdicts: Sequence[Verdict]) -> dict[str, float]:
    return {
        kind: sum(kind in verdict.kinds for verdict in verdicts) / len(verdicts) for kind in KINDS
    }


def _longest_run(diff: Diff, kind: str) -> tuple[int, bool]:
    """Length of the longest run of one kind, and whether the text ends with it."""
    longest, run, end = 0, 0, -1
    for number, word in enumerate(diff.words):
        run = run + 1 if word.kind == kind else 0
        if run > longest:
            longest, end = run, number
    return longest, end == len(diff.words) - 1


def _repeated(text: str) -> int:
    """Number of words in immediate repetitions of phrases of one to four words."""
    words = plain(text).split()
    repeated: set[int] = set()
    for size in range(1, 5):
        for first in range(size, len(words) - size + 1):
            if words[first : first + size] == words[first - size : first]:
                repeated.update(range(first, first + size))
    return len(repeated)
