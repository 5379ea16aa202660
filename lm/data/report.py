"""What a folder of tokens holds, and what in it deserves a look: printed, and kept as JSON."""

from __future__ import annotations

import collections
import dataclasses
import hashlib
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...codec.data.report import Skipped
from ...codec.files import write_json
from .shards import ShardCodes, ShardInfo, read_codes, read_info, read_labels

REPORT_FILE = "report.json"
# A row whose characters per second lie so many median deviations from its language's median.
_OUTLIER_DEVIATIONS = 6.0
# Where rows agree very closely the deviation is tiny; this much, as a factor, is never an outlier.
_OUTLIER_FACTOR = 2.5
_FEWEST_FOR_OUTLIERS = 20
_LISTED = 10
_SPOKEN = ("speech", "")  # domains whose texts are taken for transcripts


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
class TokenReport:
    """Facts about a folder of tokens."""

    fingerprint: str
    sample_rate: int
    num_codebooks: int
    frames_per_query: tuple[int, ...]  # rates that occur
    shards: int
    rows: int
    seconds: float
    num_bytes: int  # of all shards on disk
    shares: tuple[Share, ...]
    used_codes: tuple[float, ...]  # [K], share of each codebook that occurs
    skipped: dict[str, int]  # by reason
    examples_skipped: tuple[tuple[str, str, str], ...]  # id, reason, detail
    outliers: tuple[tuple[str, float], ...]  # id, characters per second
    duplicates: tuple[tuple[str, ...], ...]  # ids of rows with equal codes
    audio_leaks: tuple[tuple[str, ...], ...]  # the same codes in two splits
    text_leaks: tuple[tuple[str, ...], ...]  # the same spoken text in two splits
    speaker_overlap: int  # speakers that are in training and in another split

    @property
    def bytes_per_hour(self) -> float:
        """Disk per hour of audio."""
        return self.num_bytes / self.seconds * 3600 if self.seconds else 0.0

    def text(self) -> str:
        """A page for people."""
        return _page(self)

    def save(self, folder: Path) -> Path:
        """Write ``report.json`` into the folder."""
        path = folder / REPORT_FILE
        write_json(path, dataclasses.asdict(self))
        return path


@dataclass(slots=True)
class _Row:
    id: str
    split: str
    domain: str
    language: str
    speaker: str
    text: str
    seconds: float
    digest: bytes


def inspect_tokens(folder: str | os.PathLike[str]) -> TokenReport:
    """Read a folder of tokens through, verifying all of it.

    Raises:
        ValueError: There is no shard, one is damaged, or two are of different codecs.
    """
    folder = Path(folder)
    paths = sorted(folder.glob("*.parquet"))
    if not paths:
        raise ValueError(
            f"{folder} holds no token shards (*.parquet); make some by almtok tokenize"
        )
    rows: list[_Row] = []
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
    return _report(paths, first, rows, rates, skipped, used)


def _report(
    paths: Sequence[Path],
    info: ShardInfo,
    rows: list[_Row],
    rates: set[int],
    skipped: list[Skipped],
    used: np.ndarray[Any, Any],
) -> TokenReport:
    same_codes = _groups(rows, lambda row: row.digest)
    same_text = _groups(rows, lambda row: _spoken(row))
    training = {row.speaker for row in rows if row.split == "train" and row.speaker}
    other = {row.speaker for row in rows if row.split not in ("train", "") and row.speaker}
    return TokenReport(
        fingerprint=info.fingerprint,
        sample_rate=info.sample_rate,
        num_codebooks=info.num_codebooks,
        frames_per_query=tuple(sorted(rates)),
        shards=len(paths),
        rows=len(rows),
        seconds=sum(row.seconds for row in rows),
        num_bytes=sum(path.stat().st_size for path in paths),
        shares=_shares(rows),
        used_codes=tuple(round(float(share), 4) for share in used.mean(axis=1)),
        skipped=dict(sorted(collections.Counter(item.reason for item in skipped).items())),
        examples_skipped=tuple((item.id, item.reason, item.detail) for item in skipped),
        outliers=_outliers(rows),
        duplicates=_ids(same_codes),
        audio_leaks=_ids(_across_splits(same_codes)),
        text_leaks=_ids(_across_splits(same_text)),
        speaker_overlap=len(training & other),
    )


def _rows(labels: Iterable[dict[str, Any]], codes: ShardCodes) -> list[_Row]:
    return [
        _Row(
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


def _shares(rows: list[_Row]) -> tuple[Share, ...]:
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


def _outliers(rows: list[_Row]) -> tuple[tuple[str, float], ...]:
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


def _spoken(row: _Row) -> str:
    """Words of a transcript. A caption may well fit several sounds, so only speech has them."""
    return " ".join(re.findall(r"\w+", row.text.lower())) if row.domain in _SPOKEN else ""


def _groups(rows: list[_Row], key: Any) -> list[list[_Row]]:
    groups = collections.defaultdict(list)
    for row in rows:
        if value := key(row):
            groups[value].append(row)
    return [group for group in groups.values() if len(group) > 1]


def _across_splits(groups: list[list[_Row]]) -> list[list[_Row]]:
    return [group for group in groups if len({row.split for row in group}) > 1]


def _ids(groups: list[list[_Row]]) -> tuple[tuple[str, ...], ...]:
    return tuple(tuple(row.id for row in group) for group in groups)


def _page(report: TokenReport) -> str:
    rates = ", ".join(str(w) for w in report.frames_per_query) or "none"
    used = ", ".join(f"{share:.0%}" for share in report.used_codes)
    lines = [
        f"{report.rows} rows, {report.seconds / 3600:.3f} h of audio in {report.shards} shards,"
        f" {report.num_bytes / 1000:.0f} kB ({report.bytes_per_hour / 1000:.0f} kB per hour)",
        f"codec {report.fingerprint}: {report.num_codebooks} codebooks (used: {used}),"
        f" frames per query: {rates}",
        f"{'domain':10} {'split':8} {'rows':>8} {'hours':>9} {'with text':>10} {'speakers':>9}",
    ]
    lines += [
        f"{share.domain or '-':10} {share.split or '-':8} {share.rows:8d}"
        f" {share.seconds / 3600:9.3f} {share.with_text:10d} {share.speakers:9d}"
        for share in report.shares
    ]
    reasons = ", ".join(f"{count} {reason}" for reason, count in report.skipped.items())
    lines += _listing("skipped", reasons or "none", [" ".join(x) for x in report.examples_skipped])
    lines += _listing(
        "text does not fit audio",
        str(len(report.outliers)),
        [f"{name}: {rate} characters/s" for name, rate in report.outliers],
    )
    for what, groups in (
        ("duplicates (equal codes)", report.duplicates),
        ("leaks: equal audio in two splits", report.audio_leaks),
        ("leaks: equal text in two splits", report.text_leaks),
    ):
        lines += _listing(what, str(len(groups)), [" = ".join(group[:4]) for group in groups])
    lines.append(f"speakers in training and in another split: {report.speaker_overlap}")
    return "\n".join(lines)


def _listing(what: str, count: str, items: Sequence[str]) -> list[str]:
    lines = [f"{what}: {count}"] + [f"  {item}" for item in items[:_LISTED]]
    if len(items) > _LISTED:
        lines.append(f"  ... and {len(items) - _LISTED} more, see {REPORT_FILE}")
    return lines
