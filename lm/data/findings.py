"""What in a corpus deserves a look: texts that do not fit, duplicates, leaks between splits.

Rows may come from prepared audio or from tokens; what makes two of them equal is the caller's
digest.
"""

from __future__ import annotations

import collections
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

# A row whose characters per second lie so many median deviations from its language's median.
_OUTLIER_DEVIATIONS = 6.0
# Where rows agree very closely the deviation is tiny; this much, as a factor, is never an outlier.
_OUTLIER_FACTOR = 2.5
_FEWEST_FOR_OUTLIERS = 20
_LISTED = 10
_SPOKEN = ("speech", "listening", "")  # domains whose texts are taken for transcripts


@dataclass(frozen=True, slots=True)
class DescribedRow:
    """What is asked of a row."""

    id: str
    split: str
    domain: str
    language: str
    speaker: str
    text: str
    seconds: float
    digest: bytes  # equal for equal content


@dataclass(frozen=True)
class Share:
    """One split of one domain."""

    domain: str
    split: str
    rows: int
    seconds: float
    with_text: int  # rows that have one
    speakers: int


@dataclass(frozen=True)
class Findings:
    """Shares, and what deserves a look."""

    shares: tuple[Share, ...]
    outliers: tuple[tuple[str, float], ...]  # id, characters per second
    duplicates: tuple[tuple[str, ...], ...]  # ids of rows of equal content
    audio_leaks: tuple[tuple[str, ...], ...]  # equal content in two splits
    text_leaks: tuple[tuple[str, ...], ...]  # the same spoken text in two splits
    speaker_overlap: int  # speakers that are in training and in another split

    def table(self) -> list[str]:
        """Lines of a table of the shares."""
        lines = [
            f"{'domain':10} {'split':8} {'rows':>8} {'hours':>9} {'with text':>10} {'speakers':>9}"
        ]
        lines += [
            f"{share.domain or '-':10} {share.split or '-':8} {share.rows:8d}"
            f" {share.seconds / 3600:9.3f} {share.with_text:10d} {share.speakers:9d}"
            for share in self.shares
        ]
        return lines

    def lines(self, equal: str) -> list[str]:
        """What deserves a look, for people; ``equal`` says what duplicates have in common."""
        lines = listing(
            "text does not fit audio",
            str(len(self.outliers)),
            [f"{name}: {rate} characters/s" for name, rate in self.outliers],
        )
        for what, groups in (
            (f"duplicates (equal {equal})", self.duplicates),
            ("leaks: equal audio in two splits", self.audio_leaks),
            ("leaks: equal text in two splits", self.text_leaks),
        ):
            lines += listing(what, str(len(groups)), [" = ".join(group[:4]) for group in groups])
        lines.append(f"speakers in training and in another split: {self.speaker_overlap}")
        return lines


def find(rows: Sequence[DescribedRow]) -> Findings:
    """Look through all rows."""
    same_content = _groups(rows, lambda row: row.digest)
    same_text = _groups(rows, _spoken)
    training = {row.speaker for row in rows if row.split == "train" and row.speaker}
    other = {row.speaker for row in rows if row.split not in ("train", "") and row.speaker}
    return Findings(
        shares=_shares(rows),
        outliers=_outliers(rows),
        duplicates=_ids(same_content),
        audio_leaks=_ids(_across_splits(same_content)),
        text_leaks=_ids(_across_splits(same_text)),
        speaker_overlap=len(training & other),
    )


def _shares(rows: Sequence[DescribedRow]) -> tuple[Share, ...]:
    groups = collections.defaultdict(list)
    for row in rows:
        groups[row.domain, row.split].append(row)
    return tuple(
        Share(
            domain=domain,
            split=split,
            rows=len(group),
            seconds=sum(row.seconds for row in group),
            with_text=sum(bool(row.text) for row in group),
            speakers=len({row.speaker for row in group if row.speaker}),
        )
        for (domain, split), group in sorted(groups.items())
    )


def _outliers(rows: Sequence[DescribedRow]) -> tuple[tuple[str, float], ...]:
    """Speech whose text is far too long or too short for its audio: most are wrong transcripts."""
    groups = collections.defaultdict(list)
    for row in rows:
        if row.text and row.domain in _SPOKEN:
            groups[row.language].append((row.id, len(row.text) / row.seconds))
    found: list[tuple[float, str, float]] = []
    for group in groups.values():
        if len(group) < _FEWEST_FOR_OUTLIERS:
            continue
        logs = np.log([max(rate, 1e-3) for _, rate in group])
        middle = float(np.median(logs))
        deviation = float(np.median(np.abs(logs - middle)))
        limit = max(_OUTLIER_DEVIATIONS * deviation, float(np.log(_OUTLIER_FACTOR)))
        for (name, rate), log in zip(group, logs, strict=True):
            if abs(log - middle) > limit:
                found.append((abs(float(log) - middle), name, round(rate, 2)))
    return tuple((name, rate) for _, name, rate in sorted(found, reverse=True))


def _spoken(row: DescribedRow) -> str:
    """Words of a transcript. A caption may well fit several sounds, so only speech has them."""
    return " ".join(re.findall(r"\w+", row.text.lower())) if row.domain in _SPOKEN else ""


def _groups(
    rows: Sequence[DescribedRow], key: Callable[[DescribedRow], object]
) -> list[Sequence[DescribedRow]]:
    groups = collections.defaultdict(list)
    for row in rows:
        if value := key(row):
            groups[value].append(row)
    return [group for group in groups.values() if len(group) > 1]


def _across_splits(groups: list[Sequence[DescribedRow]]) -> list[Sequence[DescribedRow]]:
    return [group for group in groups if len({row.split for row in group}) > 1]


def _ids(groups: list[Sequence[DescribedRow]]) -> tuple[tuple[str, ...], ...]:
    return tuple(tuple(row.id for row in group) for group in groups)


def listing(what: str, count: str, items: Sequence[str]) -> list[str]:
    """A line with a count, and the first items below it."""
    lines = [f"{what}: {count}"] + [f"  {item}" for item in items[:_LISTED]]
    if len(items) > _LISTED:
        lines.append(f"  ... and {len(items) - _LISTED} more, see report.json")
    return lines
