"""What a folder of tokens holds, and what in it deserves a look: printed, and kept as JSON."""

from __future__ import annotations

import collections
import dataclasses
import hashlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...core.data.skipped import Skipped
from ...core.files import write_json
from .findings import DescribedRow, Findings, Share, find, listing
from .shards import ShardCodes, ShardInfo, read_codes, read_info, read_labels

REPORT_FILE = "report.json"


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
    def findings(self) -> Findings:
        """What deserves a look."""
        return Findings(
            self.shares,
            self.outliers,
            self.duplicates,
            self.audio_leaks,
            self.text_leaks,
            self.speaker_overlap,
        )

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


def inspect_tokens(folder: str | os.PathLike[str]) -> TokenReport:
    """Read a folder of tokens through, verifying all of it.

    Raises:
        ValueError: There is no shard, one is damaged, or two are of different codecs.
    """
    folder = Path(folder)
    paths = sorted(folder.glob("*.parquet"))
    if not paths:
        raise ValueError(
            f"{folder} holds no token shards (*.parquet); make some by almtok lm tokenize"
        )
    rows: list[DescribedRow] = []
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
    rows: list[DescribedRow],
    rates: set[int],
    skipped: list[Skipped],
    used: np.ndarray[Any, Any],
) -> TokenReport:
    found = find(rows)
    return TokenReport(
        fingerprint=info.fingerprint,
        sample_rate=info.sample_rate,
        num_codebooks=info.num_codebooks,
        frames_per_query=tuple(sorted(rates)),
        shards=len(paths),
        rows=len(rows),
        seconds=sum(row.seconds for row in rows),
        num_bytes=sum(path.stat().st_size for path in paths),
        shares=found.shares,
        used_codes=tuple(round(float(share), 4) for share in used.mean(axis=1)),
        skipped=dict(sorted(collections.Counter(item.reason for item in skipped).items())),
        examples_skipped=tuple((item.id, item.reason, item.detail) for item in skipped),
        outliers=found.outliers,
        duplicates=found.duplicates,
        audio_leaks=found.audio_leaks,
        text_leaks=found.text_leaks,
        speaker_overlap=found.speaker_overlap,
    )


def _rows(labels: Iterable[dict[str, Any]], codes: ShardCodes) -> list[DescribedRow]:
    return [
        DescribedRow(
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


def _page(report: TokenReport) -> str:
    rates = ", ".join(str(w) for w in report.frames_per_query) or "none"
    used = ", ".join(f"{share:.0%}" for share in report.used_codes)
    lines = [
        f"{report.rows} rows, {report.seconds / 3600:.3f} h of audio in {report.shards} shards,"
        f" {report.num_bytes / 1000:.0f} kB ({report.bytes_per_hour / 1000:.0f} kB per hour)",
        f"codec {report.fingerprint}: {report.num_codebooks} codebooks (used: {used}),"
        f" frames per query: {rates}",
        *report.findings.table(),
    ]
    reasons = ", ".join(f"{count} {reason}" for reason, count in report.skipped.items())
    lines += listing("skipped", reasons or "none", [" ".join(x) for x in report.examples_skipped])
    lines += report.findings.lines("codes")
    return "\n".join(lines)
