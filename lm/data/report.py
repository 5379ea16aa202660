"""Reports on corpora: totals, unlikely texts, duplicates, and leaks between splits.

:func:`examine` serves prepared audio and tokens; :func:`inspect_tokens` reports on token shards.
"""

from __future__ import annotations

import collections
import dataclasses
import hashlib
import os
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...core.data.decoding import Skipped
from ...core.files import write_json
from .shards import ShardCodes, ShardInfo, read_codes, read_info, read_labels

REPORT_FILE = "report.json"
# A text is an outlier if the logarithm of its characters per second is this many median absolute
# deviations from the median of its language, and at least this factor away from it.
_OUTLIER_DEVIATIONS = 6.0
_OUTLIER_FACTOR = 2.5
_MIN_ROWS_FOR_OUTLIERS = 20
_LISTED = 10
_SPEECH_DOMAINS = ("speech", "listening", "")  # their texts are transcripts


@dataclass(frozen=True, slots=True)
class RowSummary:
    """One clip of a corpus, of audio or of tokens."""

    id: str
    split: str
    domain: str
    language: str
    speaker: str
    text: str
    seconds: float
    digest: bytes  # of the samples or the codes


@dataclass(frozen=True)
class SplitTotals:
    """Totals of one split of one domain."""

    domain: str
    split: str
    rows: int
    seconds: float
    with_text: int  # rows with a text
    speakers: int


@dataclass(frozen=True)
class Findings:
    """Totals of a corpus, and what in it should be looked at."""

    shares: tuple[SplitTotals, ...]
    outliers: tuple[tuple[str, float], ...]  # id, characters per second
    duplicates: tuple[tuple[str, ...], ...]  # ids of rows with equal digests
    audio_leaks: tuple[tuple[str, ...], ...]  # equal digests in two splits
    text_leaks: tuple[tuple[str, ...], ...]  # equal transcripts in two splits
    speaker_overlap: int  # speakers of train that are also in another split

    def table(self) -> list[str]:
        """The totals as the lines of a table."""
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
        """Findings as text; ``equal`` names what duplicates have in common."""
        lines = list_findings(
            "text does not fit audio",
            str(len(self.outliers)),
            [f"{name}: {rate} characters/s" for name, rate in self.outliers],
        )
        for title, groups in (
            (f"duplicates (equal {equal})", self.duplicates),
            ("leaks: equal audio in two splits", self.audio_leaks),
            ("leaks: equal text in two splits", self.text_leaks),
        ):
            lines += list_findings(
                title, str(len(groups)), [" = ".join(group[:4]) for group in groups]
            )
        lines.append(f"speakers in training and in another split: {self.speaker_overlap}")
        return lines


def examine(rows: Sequence[RowSummary]) -> Findings:
    """Look for unlikely texts, duplicates, and audio, texts and speakers in two splits."""
    same_content = _groups(rows, lambda row: row.digest)
    same_text = _groups(rows, _transcript)
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


def _shares(rows: Sequence[RowSummary]) -> tuple[SplitTotals, ...]:
    groups = collections.defaultdict(list)
    for row in rows:
        groups[row.domain, row.split].append(row)
    return tuple(
        SplitTotals(
            domain=domain,
            split=split,
            rows=len(group),
            seconds=sum(row.seconds for row in group),
            with_text=sum(bool(row.text) for row in group),
            speakers=len({row.speaker for row in group if row.speaker}),
        )
        for (domain, split), group in sorted(groups.items())
    )


def _outliers(rows: Sequence[RowSummary]) -> tuple[tuple[str, float], ...]:
    """Speech whose text is far too long or too short for its audio: most are wrong transcripts."""
    groups = collections.defaultdict(list)
    for row in rows:
        if row.text and row.domain in _SPEECH_DOMAINS:
            groups[row.language].append((row.id, len(row.text) / row.seconds))
    found: list[tuple[float, str, float]] = []
    for group in groups.values():
        if len(group) < _MIN_ROWS_FOR_OUTLIERS:
            continue
        logs = np.log([max(rate, 1e-3) for _, rate in group])
        middle = float(np.median(logs))
        deviation = float(np.median(np.abs(logs - middle)))
        limit = max(_OUTLIER_DEVIATIONS * deviation, float(np.log(_OUTLIER_FACTOR)))
        for (name, rate), log in zip(group, logs, strict=True):
            if abs(log - middle) > limit:
                found.append((abs(float(log) - middle), name, round(rate, 2)))
    return tuple((name, rate) for _, name, rate in sorted(found, reverse=True))


def _transcript(row: RowSummary) -> str:
    """Words of a transcript; empty for captions, which may be equal for different sounds."""
    return " ".join(re.findall(r"\w+", row.text.lower())) if row.domain in _SPEECH_DOMAINS else ""


def _groups(
    rows: Sequence[RowSummary], key: Callable[[RowSummary], object]
) -> list[Sequence[RowSummary]]:
    groups = collections.defaultdict(list)
    for row in rows:
        if value := key(row):
            groups[value].append(row)
    return [group for group in groups.values() if len(group) > 1]


def _across_splits(groups: list[Sequence[RowSummary]]) -> list[Sequence[RowSummary]]:
    return [group for group in groups if len({row.split for row in group}) > 1]


def _ids(groups: list[Sequence[RowSummary]]) -> tuple[tuple[str, ...], ...]:
    return tuple(tuple(row.id for row in group) for group in groups)


def list_findings(title: str, count: str, items: Sequence[str]) -> list[str]:
    """A title with a count, and the first items below it."""
    lines = [f"{title}: {count}"] + [f"  {item}" for item in items[:_LISTED]]
    if len(items) > _LISTED:
        lines.append(f"  ... and {len(items) - _LISTED} more, see report.json")
    return lines


@dataclass(frozen=True, kw_only=True)
class TokenReport(Findings):
    """Report on a folder of token shards; digests are of the codes."""

    fingerprint: str  # of the codec
    sample_rate: int
    num_codebooks: int
    frames_per_query: tuple[int, ...]  # values that occur
    shards: int
    rows: int
    seconds: float
    num_bytes: int  # of all shards
    used_codes: tuple[float, ...]  # [K], share of the entries of each codebook that occur
    skipped: dict[str, int]  # by reason
    examples_skipped: tuple[tuple[str, str, str], ...]  # id, reason, detail

    @property
    def bytes_per_hour(self) -> float:
        """Bytes on disk per hour of audio."""
        return self.num_bytes / self.seconds * 3600 if self.seconds else 0.0

    def text(self) -> str:
        """The report as text."""
        rates = ", ".join(map(str, self.frames_per_query)) or "none"
        used = ", ".join(f"{share:.0%}" for share in self.used_codes)
        lines = [
            f"{self.rows} rows, {self.seconds / 3600:.3f} h of audio in {self.shards} shards,"
            f" {self.num_bytes / 1000:.0f} kB ({self.bytes_per_hour / 1000:.0f} kB per hour)",
            f"codec {self.fingerprint}: {self.num_codebooks} codebooks (used: {used}),"
            f" frames per query: {rates}",
            *self.table(),
        ]
        reasons = ", ".join(f"{count} {reason}" for reason, count in self.skipped.items())
        skipped = [" ".join(item) for item in self.examples_skipped]
        lines += list_findings("skipped", reasons or "none", skipped)
        return "\n".join([*lines, *self.lines("codes")])

    def save(self, folder: Path) -> Path:
        """Write ``report.json`` into the folder."""
        path = folder / REPORT_FILE
        write_json(path, dataclasses.asdict(self))
        return path


def inspect_tokens(folder: str | os.PathLike[str]) -> TokenReport:
    """Read and verify all shards of a folder and report on them.

    Raises:
        ValueError: There is no shard, a shard is damaged, or two shards are of different codecs.
    """
    folder = Path(folder)
    paths = sorted(folder.glob("*.parquet"))
    if not paths:
        raise ValueError(
            f"{folder} holds no token shards (*.parquet); make some by almtok lm tokenize"
        )
    rows: list[RowSummary] = []
    rates: set[int] = set()
    skipped: list[Skipped] = []
    first = read_info(paths[0])
    used = np.zeros((first.num_codebooks, first.codebook_size), bool)
    for path in paths:
        info = read_info(path)
        if info.fingerprint != first.fingerprint:
            raise ValueError(
                f"{folder} mixes codecs: {paths[0].name} is of {first.fingerprint},"
                f" {path.name} of {info.fingerprint}"
            )
        codes = read_codes(path, info)
        labels = read_labels(path, info).to_pylist()
        rows += _rows(labels, codes)
        rates |= {row["frames_per_query"] for row in labels}
        skipped += info.skipped
        _mark_used(used, codes, info)
    return TokenReport(
        **vars(examine(rows)),
        fingerprint=first.fingerprint,
        sample_rate=first.sample_rate,
        num_codebooks=first.num_codebooks,
        frames_per_query=tuple(sorted(rates)),
        shards=len(paths),
        rows=len(rows),
        seconds=sum(row.seconds for row in rows),
        num_bytes=sum(path.stat().st_size for path in paths),
        used_codes=tuple(round(float(share), 4) for share in used.mean(axis=1)),
        skipped=dict(sorted(collections.Counter(item.reason for item in skipped).items())),
        examples_skipped=tuple((item.id, item.reason, item.detail) for item in skipped),
    )


def _rows(labels: Iterable[dict[str, Any]], codes: ShardCodes) -> list[RowSummary]:
    return [
        RowSummary(
            id=row["id"],
            split=row["split"],
            domain=row["domain"],
            language=row["language"],
            speaker=row["speaker"],
            text=row["text"],
            seconds=row["duration"],
            digest=hashlib.blake2b(
                codes.flat[codes.ends[place] : codes.ends[place + 1]].tobytes(), digest_size=16
            ).digest(),
        )
        for place, row in enumerate(labels)
    ]


def _mark_used(used: np.ndarray[Any, Any], codes: ShardCodes, info: ShardInfo) -> None:
    for begin, end in zip(codes.ends[:-1], codes.ends[1:], strict=True):
        grid = codes.flat[begin:end].reshape(info.num_codebooks, -1)
        for layer, stream in enumerate(grid):
            used[layer, stream] = True
