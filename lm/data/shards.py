"""Token shards: Parquet files of codes with their texts, verified by checksums when read.

A shard covers the entries ``first .. last - 1`` of its corpus and lists those that were skipped.
The metadata of the codes is a JSON object under the key ``almtok`` of the schema's metadata: each
shard is self-contained, and any Parquet reader shows it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
from numpy.typing import NDArray

from ...core.data.decoding import Skipped
from ...core.data.entries import AudioEntry
from ...core.data.parquet_footer import column_sizes
from ...core.field_types import check_fields
from ...core.files import replaced_file
from ...core.reading import describe

FORMAT = "almtok-token-shard-1"
_KEY = b"almtok"
# Largest decoded size in bytes of the codes, or of the other columns, of a shard: 512 MiB.
_MAX_BYTES = "ALMTOK_MAX_SHARD_BYTES"
_DEFAULT_MAX_BYTES = 1 << 29
SCHEMA = pyarrow.schema(
    [
        ("id", pyarrow.string()),
        ("codes", pyarrow.list_(pyarrow.uint16())),  # K * Q, layer after layer
        ("num_frames", pyarrow.int32()),  # Q, columns of codes: positions of a language model
        ("num_samples", pyarrow.int64()),
        ("frames_per_query", pyarrow.int32()),
        ("text", pyarrow.string()),
        ("speaker", pyarrow.string()),
        ("language", pyarrow.string()),
        ("domain", pyarrow.string()),
        ("duration", pyarrow.float64()),  # seconds
        ("split", pyarrow.string()),
    ]
)
LABELS = [name for name in SCHEMA.names if name != "codes"]


class ShardError(ValueError):
    """The file is damaged, or is not a token shard."""


@dataclass(frozen=True, kw_only=True)
class ShardInfo:
    """Metadata of a shard."""

    plan: str  # hash of everything that the shards of a corpus depend on
    number: int
    first: int  # entries first .. last - 1
    last: int
    fingerprint: str  # of the codec
    sample_rate: int  # Hz
    num_codebooks: int
    codebook_size: int
    rows: int = 0
    skipped: tuple[Skipped, ...] = ()
    loudness_dbfs: float | None = None  # RMS level of all clips; None: not normalized
    codes_sha256: str = ""
    labels_sha256: str = ""
    format: str = FORMAT

    def to_json(self) -> str:
        """A JSON object with a checksum of itself."""
        values = dataclasses.asdict(self)
        values["skipped"] = [[item.id, item.reason, item.detail] for item in self.skipped]
        return json.dumps({**values, "sha256": _digest_json(values)})

    @classmethod
    def from_json(cls, text: str | bytes) -> ShardInfo:
        """The inverse of ``to_json``.

        Raises:
            ValueError: The checksum does not match, or a value is not valid.
        """
        values = json.loads(text)
        if values.pop("sha256", None) != _digest_json(values):
            raise ValueError("its checksum does not match")
        values["skipped"] = tuple(Skipped(*item) for item in values["skipped"])
        info = cls(**values)
        check_fields(info)
        sizes = (info.sample_rate, info.num_codebooks, info.codebook_size)
        if min(sizes) < 1 or info.rows < 0:
            raise ValueError(f"its sizes must be positive, got {sizes} and {info.rows} rows")
        return info


@dataclass(frozen=True, slots=True)
class EncodedClip:
    """A clip as codes, without its samples."""

    place: int  # index in the list of entries
    entry: AudioEntry
    num_samples: int
    codes: NDArray[np.uint16]  # [K, Q]


@dataclass(frozen=True, slots=True)
class ShardCodes:
    """All codes of a shard; row r is ``flat[ends[r] : ends[r + 1]]``, reshaped to [K, Q]."""

    flat: NDArray[np.uint16]
    ends: NDArray[np.int64]  # [rows + 1], the first is 0

    @property
    def num_bytes(self) -> int:
        """Memory in bytes."""
        return self.flat.nbytes + self.ends.nbytes


def shard_path(folder: Path, number: int) -> Path:
    """Path of a shard."""
    return folder / f"tokens-{number:06d}.parquet"


def write_shard(
    folder: Path, info: ShardInfo, rows: Sequence[EncodedClip], frames_per_query: int
) -> ShardInfo:
    """Write a shard atomically; the same rows give the same bytes."""
    table = _table(rows, frames_per_query, info.sample_rate)
    codes = _codes_of(table)
    info = dataclasses.replace(
        info,
        rows=len(rows),
        codes_sha256=_digest_codes(codes),
        labels_sha256=_digest_labels(table.select(LABELS)),
    )
    table = table.replace_schema_metadata({_KEY: info.to_json().encode()})
    path = shard_path(folder, info.number)
    with replaced_file(path) as file:
        # The dictionary packs 2048 different codes into 11 bits each, zstd the texts.
        pyarrow.parquet.write_table(
            table, file, compression="zstd", compression_level=9, use_dictionary=True
        )
    return info


def read_info(path: Path) -> ShardInfo:
    """Read the metadata of a shard from its footer.

    Raises:
        ShardError: The file is damaged, or was not written by ``almtok lm tokenize``.
    """
    with _reading(path):
        metadata = pyarrow.parquet.read_schema(path, memory_map=True).metadata or {}
    if _KEY not in metadata:
        raise ShardError(f"{path} is Parquet, but not a token shard: it has no 'almtok' metadata")
    try:
        info = ShardInfo.from_json(metadata[_KEY])
    except (ValueError, TypeError, KeyError) as error:
        raise ShardError(f"{path}: its metadata cannot be parsed ({error})") from error
    if info.format != FORMAT:
        raise ShardError(f"the format of {path} must be {FORMAT!r}, got {info.format!r}")
    return info


def read_labels(path: Path, info: ShardInfo) -> pyarrow.Table:
    """Read all columns except the codes and verify them.

    Raises:
        ShardError: The file is damaged.
    """
    with _reading(path):
        table = _read_columns(path, LABELS).replace_schema_metadata(None)
        digest = _digest_labels(table)
    if len(table) != info.rows or digest != info.labels_sha256:
        raise ShardError(f"{path} is damaged: its labels do not match their checksum")
    return table


def read_codes(path: Path, info: ShardInfo) -> ShardCodes:
    """Read all codes and verify them.

    Raises:
        ShardError: The file is damaged.
    """
    with _reading(path):
        table = _read_columns(path, ["codes"])
        codes = _codes_of(table)
    if len(table) != info.rows or _digest_codes(codes) != info.codes_sha256:
        raise ShardError(f"{path} is damaged: its codes do not match their checksum")
    largest = int(codes.flat.max()) if len(codes.flat) else 0
    if largest >= info.codebook_size or (np.diff(codes.ends) % info.num_codebooks).any():
        raise ShardError(
            f"{path} is damaged: its codes, up to {largest}, do not fit {info.num_codebooks}"
            f" codebooks of {info.codebook_size}"
        )
    return codes


def _read_columns(path: Path, columns: Sequence[str]) -> pyarrow.Table:
    """Read columns whose decoded size is limited: a few bytes can encode gigabytes."""
    sizes = [size for size in column_sizes(path) if size.name in columns]
    width = 2 if columns == ["codes"] else 8
    _check_size(path, sum(size.num_values for size in sizes) * width)
    # Each row may hold the longest text of the dictionary.
    longest = sum(size.num_values * size.encoded_bytes for size in sizes)
    if columns != ["codes"] and longest > _max_bytes():
        size = 0
        with pyarrow.parquet.ParquetFile(path, memory_map=True) as file:
            for batch in file.iter_batches(64, columns=columns):
                size += batch.nbytes
                _check_size(path, size)
    return pyarrow.parquet.read_table(path, columns=columns, memory_map=True, partitioning=None)


def _max_bytes() -> int:
    return int(os.environ.get(_MAX_BYTES, _DEFAULT_MAX_BYTES))


def _check_size(path: Path, size: int) -> None:
    if size > _max_bytes():
        raise ShardError(
            f"{path} must decode to at most {_max_bytes()} bytes, got {size} or more: set the"
            f" environment variable {_MAX_BYTES} to read it"
        )


class _reading:  # noqa: N801  (reads as a word: with _reading(path))
    """Convert errors of pyarrow for damaged files into a ShardError that names the file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> None:
        if not self._path.is_file():
            raise ShardError(f"there is no token shard {self._path}")

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, ShardError):
            return
        kinds = (pyarrow.ArrowException, OSError, ValueError, KeyError, AttributeError, TypeError)
        if isinstance(error, kinds):
            raise ShardError(f"{self._path} is damaged: {describe(error)}") from error


def _table(rows: Sequence[EncodedClip], frames_per_query: int, sample_rate: int) -> pyarrow.Table:
    values: dict[str, list[Any]] = {name: [] for name in SCHEMA.names}
    for row in rows:
        entry = row.entry
        values["id"].append(entry.id)
        values["codes"].append(row.codes.reshape(-1))
        values["num_frames"].append(row.codes.shape[-1])
        values["num_samples"].append(row.num_samples)
        values["frames_per_query"].append(frames_per_query)
        values["text"].append(entry.text)
        values["speaker"].append(entry.speaker)
        values["language"].append(entry.language)
        values["domain"].append(entry.domain)
        values["duration"].append(row.num_samples / sample_rate)
        values["split"].append(entry.split)
    return pyarrow.table(values, schema=SCHEMA)


def _codes_of(table: pyarrow.Table) -> ShardCodes:
    column = table.column("codes").combine_chunks()
    if isinstance(column, pyarrow.ChunkedArray):  # no rows: no chunk
        column = pyarrow.concat_arrays(column.chunks) if column.num_chunks else None
    if column is None or len(column) == 0:
        return ShardCodes(np.zeros(0, np.uint16), np.zeros(1, np.int64))
    ends = column.offsets.to_numpy().astype(np.int64)
    flat = column.values.to_numpy()[ends[0] : ends[-1]]
    return ShardCodes(np.ascontiguousarray(flat), ends - ends[0])


def _digest_codes(codes: ShardCodes) -> str:
    digest = hashlib.sha256(codes.flat.astype("<u2", copy=False).tobytes())
    digest.update(codes.ends.astype("<i8", copy=False).tobytes())
    return digest.hexdigest()


def _digest_labels(table: pyarrow.Table) -> str:
    return _digest_json([table.column(name).to_pylist() for name in LABELS])


def _digest_json(values: Any) -> str:
    return hashlib.sha256(json.dumps(values).encode()).hexdigest()
