"""What is kept of every clip, in a file that survives a kill.

One JSON object per line: first what the results depend on, then one line per finished clip. A line
that a kill cut short is dropped and its clip is done again.
"""

from __future__ import annotations

import base64
import json
import os
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ...core.files import append_json_line, complete_lines


@dataclass(frozen=True)
class ClipResult:
    """One clip through one coder."""

    id: str
    domain: str
    seconds: float  # of audio
    scores: dict[str, float] = field(default_factory=dict)  # metric name -> score
    missing: dict[str, str] = field(default_factory=dict)  # metric name -> why there is none
    bits: int = 0
    encode_seconds: float = 0.0
    decode_seconds: float = 0.0
    peak_mb: float | None = None  # resident memory of this process while coding
    codes: str | None = None  # packed [K, Q], see `pack_codes`
    error: str | None = None  # why the clip failed; then there are no scores


def pack_codes(codes: npt.NDArray[np.int64] | None) -> str | None:
    """Codes [K, Q] as short text: ``K:`` and the compressed numbers."""
    if codes is None:
        return None
    data = zlib.compress(np.ascontiguousarray(codes, dtype="<u4").tobytes(), 6)
    return f"{codes.shape[0]}:{base64.b64encode(data).decode()}"


def unpack_codes(text: str) -> npt.NDArray[np.int64]:
    """The codes [K, Q] that `pack_codes` wrote."""
    rows, _, data = text.partition(":")
    numbers = np.frombuffer(zlib.decompress(base64.b64decode(data)), dtype="<u4")
    return numbers.astype(np.int64).reshape(int(rows), -1)


def read_results(path: str | os.PathLike[str]) -> dict[str, ClipResult]:
    """Results by clip id from a file of `ResultStore`; a line cut short is left out."""
    lines = complete_lines(Path(path), repair=False)
    results = (ClipResult(**json.loads(line)) for line in lines[1:])
    return {result.id: result for result in results}


class ResultStore:
    """Clip results of one coder in a JSONL file; opening it again goes on where it ended.

    Args:
        path: of the file; folders are made.
        settings: what the results depend on (coder, data). A file with other settings is refused.
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
        found = json.loads(lines[0]).get("settings")
        if found != self.settings:
            differing = sorted(
                key
                for key in {*self.settings, *(found or {})}
                if (found or {}).get(key) != self.settings.get(key)
            )
            raise ValueError(
                f"{self.path} holds results of another evaluation (different: "
                f"{', '.join(differing)}); choose another output folder or remove it"
            )
        self.results = read_results(self.path)
        complete_lines(self.path)

    def add(self, result: ClipResult) -> None:
        """Keep a result, on disk before this returns."""
        append_json_line(self.path, asdict(result))
        self.results[result.id] = result
