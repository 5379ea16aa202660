"""Results of single clips in a resumable JSONL file, and statistics of their codes.

The first line of a file holds the settings that the results depend on, every other line the result
of a clip. An incomplete last line is dropped and its clip is evaluated again.
Letters: K codebooks, C codebook size, Q positions.
"""

from __future__ import annotations

import base64
import json
import os
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ...core.files import append_json_line, complete_lines
from ...core.reading import parse_json_object, reading


@dataclass(frozen=True)
class ClipResult:
    """Result of a clip with a codec."""

    id: str
    domain: str
    seconds: float  # duration
    scores: dict[str, float] = field(default_factory=dict)  # metric name -> score
    missing: dict[str, str] = field(default_factory=dict)  # metric name -> reason
    bits: int = 0  # of the codes of the clip
    encode_seconds: float = 0.0
    decode_seconds: float = 0.0
    peak_mb: float | None = None  # peak memory while coding, MB of 2**20 bytes
    codes: str | None = None  # [K, Q], packed by `pack_codes`
    error: str | None = None  # exception, if the clip failed
    # Of judges (judged.py); not in the file of the results.
    findings: dict[str, Any] = field(default_factory=dict)
    counts: dict[str, tuple[int, int]] = field(default_factory=dict)  # rate -> errors, size


def pack_codes(codes: npt.NDArray[np.int64] | None) -> str | None:
    """Pack codes [K, Q] into text: K, a colon, and base64 of the zlib-compressed uint32 values."""
    if codes is None:
        return None
    data = zlib.compress(np.ascontiguousarray(codes, dtype="<u4").tobytes(), 6)
    return f"{codes.shape[0]}:{base64.b64encode(data).decode()}"


def unpack_codes(text: str) -> npt.NDArray[np.int64]:
    """Codes [K, Q] from the text of `pack_codes`."""
    rows, _, data = text.partition(":")
    numbers = np.frombuffer(zlib.decompress(base64.b64decode(data)), dtype="<u4")
    return numbers.astype(np.int64).reshape(int(rows), -1)


def read_results(path: str | os.PathLike[str]) -> dict[str, ClipResult]:
    """Results by clip id from a file of `ResultStore`; an incomplete last line is left out.

    Raises:
        ValueError: A line is not a result; the message names file and line.
    """
    results = {}
    for number, line in enumerate(complete_lines(Path(path), repair=False), start=1):
        values = parse_json_object(line, path, number)
        if number > 1:  # the first line has the settings
            with reading(f"{os.fspath(path)} line {number}"):
                result = ClipResult(**values)
                results[result.id] = result
    return results


class ResultStore:
    """Clip results of a codec in a JSONL file; an existing file is continued.

    Args:
        path: of the file; missing folders are created.
        settings: settings that the results depend on (codec, data).

    Raises:
        ValueError: The file has results with other settings.
    """

    def __init__(self, path: str | os.PathLike[str], settings: Mapping[str, Any]) -> None:
        self.path = Path(path)
        self.settings = json.loads(json.dumps(settings))
        self.results: dict[str, ClipResult] = {}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        lines = complete_lines(self.path, repair=False) if self.path.exists() else []
        if lines:
            self._read(lines)
        else:
            self.path.write_bytes(b"")
            append_json_line(self.path, {"settings": self.settings})

    def _read(self, lines: list[bytes]) -> None:
        found = parse_json_object(lines[0], self.path, 1).get("settings")
        found = found if isinstance(found, dict) else {}
        if found != self.settings:
            differing = sorted(
                key for key in {*self.settings, *found} if found.get(key) != self.settings.get(key)
            )
            raise ValueError(
                f"{self.path} has results with other settings ({', '.join(differing)}):"
                " choose another output folder or remove it"
            )
        self.results = read_results(self.path)
        complete_lines(self.path)

    def add(self, result: ClipResult) -> None:
        """Append a result; it is on disk when this returns."""
        line = asdict(result)
        del line["findings"], line["counts"]
        append_json_line(self.path, line)
        self.results[result.id] = result


@dataclass(frozen=True)
class CodeStatistics:
    """Statistics over all codes of a codec on a data set."""

    usage: tuple[float, ...]  # [K], share of the C entries that occur
    entropy_bits: tuple[float, ...]  # [K], zeroth order, of the empirical distribution
    perplexity: tuple[float, ...]  # [K], 2 ** entropy
    positions: int  # number of positions Q over all clips
    kbps_nominal: float  # frame rate x sum of log2 C
    kbps_entropy: float  # frame rate x sum of the entropies: ideal zeroth-order entropy coding


def code_histogram(codes: Iterable[npt.ArrayLike], codebook_size: int) -> npt.NDArray[np.int64]:
    """Count how often each entry occurs, [K, C], over codes [K, Q] of any number of clips."""
    counts: npt.NDArray[np.int64] | None = None
    for item in codes:
        array = np.asarray(item)
        if array.ndim != 2:
            raise ValueError(f"codes must be [K, Q], got shape {array.shape}")
        if array.size and (array.min() < 0 or array.max() >= codebook_size):
            raise ValueError(
                f"codes must lie in 0..{codebook_size - 1}, got {array.min()}..{array.max()}"
            )
        if counts is None:
            counts = np.zeros((array.shape[0], codebook_size), dtype=np.int64)
        if array.shape[0] != len(counts):
            raise ValueError(f"codes must be of {len(counts)} codebooks, got {array.shape[0]}")
        counts += np.stack([np.bincount(row, minlength=codebook_size) for row in array])
    if counts is None:
        raise ValueError("codes must be of at least one clip, got none")
    return counts


def code_statistics(
    codes: Iterable[npt.ArrayLike], *, codebook_size: int, frame_rate: float
) -> CodeStatistics:
    """Statistics of codes [K, Q] of many clips.

    The entropy is the plug-in estimate, which is too low on few positions: by about
    ``(entries used - 1) / (2 positions ln 2)`` bits per layer.

    Args:
        codes: integer arrays [K, Q], one per clip.
        codebook_size: C.
        frame_rate: positions per second.
    """
    counts = code_histogram(codes, codebook_size)
    positions = int(counts[0].sum())
    if positions == 0:
        raise ValueError("codes must have at least one position, got none")
    share = counts / positions
    with np.errstate(divide="ignore", invalid="ignore"):
        entropy = -np.where(share > 0, share * np.log2(share), 0.0).sum(axis=1)
    return CodeStatistics(
        usage=tuple(float(u) for u in (counts > 0).mean(axis=1)),
        entropy_bits=tuple(float(h) for h in entropy),
        perplexity=tuple(float(p) for p in 2.0**entropy),
        positions=positions,
        kbps_nominal=frame_rate * len(counts) * float(np.log2(codebook_size)) / 1000.0,
        kbps_entropy=frame_rate * float(entropy.sum()) / 1000.0,
    )
