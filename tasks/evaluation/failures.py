"""What goes wrong in speech beside single words: skips, repeats, no end, tempo; by text length.

A mean WER hides the tail that users meet (peers' issue trackers are full of it), so each utterance
is judged, and the share of bad ones is given for short and long texts.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ...core.metrics.intervals import Interval, rate_interval
from ...lm.text.normalize import plain
from ..duration import USUAL, SpeakingRate, units
from .diff import Diff, word_diff

KINDS = ("no_stop", "early_stop", "skip", "repeat", "silent", "tempo")
# Words of a text: very short ones are as hard as long ones.
LENGTHS = ((1, 3), (4, 8), (9, 16), (17, 40), (41, 10**9))
# Words missing or extra in a row that are more than a recogniser's slip: three, or a third.
_RUN, _SHARE = 3, 1 / 3
_SLOWEST, _QUICKEST = 0.5, 2.0  # of the usual tempo


@dataclass(frozen=True, kw_only=True)
class Utterance:
    """One synthesis and what was heard of it."""

    text: str
    heard: str
    seconds: float
    ended: bool  # by the model's own end token
    reference_seconds: float | None = None  # of a person's recording of the text


@dataclass(frozen=True)
class Verdict:
    """What is wrong with an utterance."""

    kinds: tuple[str, ...]  # of KINDS; empty: nothing
    diff: Diff
    rate_ratio: float  # tempo, by the reference's or the usual one

    @property
    def failed(self) -> bool:
        """Whether anything is wrong."""
        return bool(self.kinds)


@dataclass(frozen=True)
class FailureRow:
    """Share of bad utterances among texts of one length."""

    words: tuple[int, int]  # least and most
    rate: Interval
    by_kind: dict[str, float]


def judge(utterance: Utterance, *, pace: SpeakingRate = USUAL) -> Verdict:
    """Say what is wrong with an utterance."""
    diff = word_diff(utterance.text, utterance.heard)
    wanted = max(1, len(plain(utterance.text).split()))
    run = max(_RUN, wanted * _SHARE) if wanted > _RUN else wanted
    missing, last_missing = _longest(diff, "missing")
    repeats = _repeated(utterance.heard) - _repeated(utterance.text)
    ratio = rate_ratio(utterance, pace)
    kinds = []
    if not utterance.ended:
        kinds.append("no_stop")
    if not utterance.heard.strip():
        kinds.append("silent")
    elif missing >= run:
        kinds.append("early_stop" if last_missing else "skip")
    if repeats >= min(_RUN, wanted):
        kinds.append("repeat")
    if not _SLOWEST <= ratio <= _QUICKEST:
        kinds.append("tempo")
    return Verdict(tuple(kinds), diff, ratio)


def rate_ratio(utterance: Utterance, pace: SpeakingRate = USUAL) -> float:
    """Tempo of an utterance: 2 is twice as quick as the reference, or as is usual."""
    usual = utterance.reference_seconds or pace.usual * units(utterance.text)
    return usual / utterance.seconds if utterance.seconds > 0 else float("inf")


def failure_table(
    utterances: Iterable[Utterance], *, pace: SpeakingRate = USUAL
) -> list[FailureRow]:
    """Failure rates by text length, then of all; lengths without a text are left out."""
    verdicts = [(len(plain(one.text).split()), judge(one, pace=pace)) for one in utterances]
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


def _longest(diff: Diff, kind: str) -> tuple[int, bool]:
    """The longest run of one kind, and whether the text ends with it."""
    best, run, place = 0, 0, -1
    for number, word in enumerate(diff.words):
        run = run + 1 if word.kind == kind else 0
        if run > best:
            best, place = run, number
    return best, place == len(diff.words) - 1


def _repeated(text: str) -> int:
    """Words that belong to a phrase of one to four words said again at once."""
    words = plain(text).split()
    again: set[int] = set()
    for size in range(1, 5):
        for first in range(size, len(words) - size + 1):
            if words[first : first + size] == words[first - size : first]:
                again.update(range(first, first + size))
    return len(again)
