"""Token shards as a dataset: labels memory-mapped, codes read shard by shard on access.

Shapes: `N` rows, `K` codebooks, `Q` columns of codes.
"""

from __future__ import annotations

import collections
import hashlib
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.compute
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from ...core.data.entries import normalize_split
from .labels import Folders, check_infos, read_tables
from .rows import EpochIndex, TokenRow
from .shards import LABELS, ShardCodes, ShardInfo, read_codes


class EmptySelection(ValueError):
    """No row matches the filters."""


class TokenDataset(Dataset[TokenRow]):
    """Rows of token shards, all made by one codec.

    Example:
        >>> rows = TokenDataset("tokens/", split="train")  # doctest: +SKIP
        >>> rows[0].codes.shape  # doctest: +SKIP
        torch.Size([3, 54])
    """

    def __init__(
        self,
        folders: Folders,
        *,
        split: str | None = None,
        domain: str | None = None,
        language: str | None = None,
        min_seconds: float = 0.0,
        max_seconds: float | None = None,
        needs_text: bool = False,
        fingerprint: str | None = None,
        cache_mebibytes: int = 256,
        spare_index: Path | None = None,
    ) -> None:
        """Select rows by the labels of all shards, which are stored beside large corpora.

        Args:
            folders: Folders of shards, or single shards.
            split: Only rows of this split (``validation``, ``dev`` and ``val`` mean ``valid``).
                Rows without a split belong to ``train``.
            domain: Only rows of this domain.
            language: Only rows in this language.
            min_seconds: Minimum duration.
            max_seconds: Maximum duration.
            needs_text: Only rows with a text.
            fingerprint: Of the expected codec; None accepts any single codec.
            cache_mebibytes: Memory for decoded codes (256 MiB hold about 1000 hours).
            spare_index: Where the labels of a read-only folder are stored (``labels.py``).

        Raises:
            ValueError: There is no shard, a shard is damaged, or the shards are of several codecs
                or of another codec than expected.
            EmptySelection: No row matches.
        """
        self._tables = read_tables(folders, spare_index)
        self._batches = [batch for table in self._tables for batch in table.batches]
        self._paths = [path for table in self._tables for path in table.paths]
        self._infos = [info for table in self._tables for info in table.infos]
        check_infos(self._paths, self._infos, fingerprint)
        labels = self._columns()
        self._picked = _kept(
            labels, split, domain, language, min_seconds, max_seconds, needs_text
        )  # [N], among the rows of all shards
        starts = np.cumsum([0, *(info.rows for info in self._infos)])
        self._shards = (np.searchsorted(starts, self._picked, "right") - 1).astype(np.int32)
        self._places = (self._picked - starts[self._shards]).astype(np.int32)
        if not len(self._picked):
            raise EmptySelection(
                f"none of {starts[-1]} rows in {_names(self._paths)} fits: asked for split"
                f" {split!r}, domain {domain!r}, language {language!r}, {min_seconds} to"
                f" {max_seconds or 'any'} s{', with a text' if needs_text else ''}"
            )
        self.num_frames = _numbers(labels, "num_frames")[self._picked]  # [N]
        self._cache = _CodesCache(cache_mebibytes << 20)
        self._speakers: _Speakers | None = None

    @property
    def info(self) -> ShardInfo:
        """Metadata of the first shard; codec, sample rate and codebooks are the same in all."""
        return self._infos[0]

    @property
    def fingerprint(self) -> str:
        """Fingerprint of the codec."""
        return self.info.fingerprint

    @property
    def seconds(self) -> float:
        """Duration of all rows."""
        return float(_numbers(self._columns("duration"), "duration")[self._picked].sum())

    def digest(self) -> str:
        """SHA-256 of everything about the rows, except the codes themselves, and their order."""
        digest = hashlib.sha256("".join(table.digest for table in self._tables).encode())
        digest.update(self._picked.astype("<i8").tobytes())
        return digest.hexdigest()

    def __len__(self) -> int:
        return len(self._picked)

    def __getitem__(self, index: int | EpochIndex) -> TokenRow:
        place = self._place(index)
        codes = self._codes(int(self._shards[place]))
        row = int(self._places[place])
        flat = codes.flat[codes.ends[row] : codes.ends[row + 1]].astype(np.int64)
        grid = torch.from_numpy(flat).view(self.info.num_codebooks, -1)  # [K, Q]
        return self._row(place, grid)

    def labels(self, index: int | EpochIndex) -> TokenRow:
        """A row with zeros in place of its codes (which are not read), to measure lengths."""
        place = self._place(index)
        frames = int(self.num_frames[place])
        blank = torch.zeros(1, 1, dtype=torch.int64).expand(self.info.num_codebooks, frames)
        return self._row(place, blank)

    def lengths(self, epoch: int = 0) -> NDArray[np.int64]:
        """Columns of codes per row, [N]; the same in every epoch."""
        return self.num_frames

    def recordings(self, among: Collection[str] | None = None) -> set[tuple[str, int]]:
        """Id and number of columns of every row; the pair identifies a recording.

        Args:
            among: Only rows with these ids.
        """
        names, frames = self._values("id"), self.num_frames
        if among is not None:
            known = pyarrow.array(sorted(among), pyarrow.string())
            found = pyarrow.compute.is_in(names, value_set=known).to_numpy(zero_copy_only=False)
            names, frames = names.filter(pyarrow.array(found)), frames[found]
        return set(zip(names.to_pylist(), frames.tolist(), strict=True))

    def texts(self) -> list[str]:
        """Text of every row."""
        texts: list[str] = self._values("text").to_pylist()
        return texts

    def speakers(self) -> collections.Counter[str]:
        """Number of rows by speaker; "" for rows without one."""
        counts = self._values("speaker").value_counts().to_pylist()
        return collections.Counter({item["values"]: item["counts"] for item in counts})

    def companion(self, index: int, random: np.random.Generator) -> int | None:
        """Index of a random other row of the same speaker, or None if there is none."""
        if self._speakers is None:
            self._speakers = _Speakers(self._values("speaker"))
        return self._speakers.other(self._place(index), random)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_cache": _CodesCache(self._cache.limit), "_batches": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._batches = [batch for table in self._tables for batch in table.batches]

    def _columns(self, *names: str) -> pyarrow.Table:
        """Some or all labels of all rows of the shards; nothing is copied."""
        table = pyarrow.Table.from_batches(self._batches)
        return table.select(list(names)) if names else table

    def _values(self, name: str) -> pyarrow.Array:
        """A column of the selected rows."""
        values = self._columns(name).column(name).take(pyarrow.array(self._picked))
        return pyarrow.concat_arrays(values.chunks)

    def _place(self, index: int | EpochIndex) -> int:
        number = index.index if isinstance(index, EpochIndex) else int(index)
        place = number + len(self) if number < 0 else number
        if not 0 <= place < len(self):
            raise IndexError(f"row {number} of {len(self)}")
        return place

    def _codes(self, shard: int) -> ShardCodes:
        codes = self._cache.get(shard)
        if codes is None:
            codes = read_codes(self._paths[shard], self._infos[shard])
            self._cache.put(shard, codes)
        return codes

    def _row(self, place: int, codes: torch.Tensor) -> TokenRow:
        batch = self._batches[self._shards[place]]
        row = int(self._places[place])
        values = {name: batch.column(name)[row].as_py() for name in LABELS}
        del values["num_frames"]
        info = self.info
        return TokenRow(
            codes=codes, sample_rate=info.sample_rate, fingerprint=info.fingerprint, **values
        )


class _CodesCache:
    """Least-recently-used cache of the codes of shards, limited in bytes; it keeps one at least."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._held: collections.OrderedDict[int, ShardCodes] = collections.OrderedDict()
        self._bytes = 0

    def get(self, shard: int) -> ShardCodes | None:
        if shard in self._held:
            self._held.move_to_end(shard)
        return self._held.get(shard)

    def put(self, shard: int, codes: ShardCodes) -> None:
        self._held[shard] = codes
        self._bytes += codes.num_bytes
        while self._bytes > self.limit and len(self._held) > 1:
            _, oldest = self._held.popitem(last=False)
            self._bytes -= oldest.num_bytes


class _Speakers:
    """Index of rows by speaker."""

    def __init__(self, names: pyarrow.Array) -> None:
        self._numbers = names.dictionary_encode().indices.to_numpy().astype(np.int64)
        self._order = np.argsort(self._numbers, kind="stable")
        counts = np.bincount(self._numbers)
        self._ends = np.concatenate([[0], np.cumsum(counts)])
        self._ranks = np.empty(len(names), np.int64)  # of a row among those of its speaker
        self._ranks[self._order] = np.arange(len(names)) - self._ends[self._numbers[self._order]]
        self._nameless = pyarrow.compute.equal(names, "").to_numpy(zero_copy_only=False)

    def other(self, place: int, random: np.random.Generator) -> int | None:
        number = self._numbers[place]
        first, last = int(self._ends[number]), int(self._ends[number + 1])
        if self._nameless[place] or last - first < 2:
            return None
        rank = int(random.integers(last - first - 1))
        return int(self._order[first + rank + (rank >= self._ranks[place])])


def _kept(
    table: pyarrow.Table,
    split: str | None,
    domain: str | None,
    language: str | None,
    min_seconds: float,
    max_seconds: float | None,
    needs_text: bool,
) -> NDArray[np.int64]:
    """Indices of the matching rows."""
    keep = _numbers(table, "duration") >= min_seconds
    if max_seconds is not None:
        keep &= _numbers(table, "duration") <= max_seconds
    if split is not None:
        split = normalize_split(split)
        fits = _equal(table, "split", split)
        # Rows of a corpus without splits: none of them is held out.
        keep &= fits | _equal(table, "split", "") if split == "train" else fits
    for name, value in (("domain", domain), ("language", language)):
        if value is not None:
            keep &= _equal(table, name, value)
    if needs_text:
        keep &= ~_equal(table, "text", "")
    return np.flatnonzero(keep)


def _equal(table: pyarrow.Table, name: str, value: str) -> NDArray[np.bool_]:
    return pyarrow.compute.equal(table.column(name), value).to_numpy().astype(bool)


def _numbers(table: pyarrow.Table, name: str) -> Any:
    values = table.column(name).to_numpy()
    return values.astype(np.float64 if name == "duration" else np.int64)


def _names(paths: Iterable[Path]) -> str:
    return ", ".join(sorted({str(path.parent) for path in paths}))


def paired_codes(
    old: Folders, new: Folders, *, codec: str | None = None, limit: int = 450_000
) -> tuple[torch.Tensor, torch.Tensor]:
    """Codes of the same recordings by two codecs, `[N, K]` and `[N, K]` int64.

    Args:
        old: Folders of tokens.
        new: Folders of tokens of another codec with the same frame rate.
        codec: Fingerprint of the codec that made ``old``; None accepts any.
        limit: About the maximum of frames N; of more, recordings are drawn at random, always the
            same. The default is ten hours at 12.5 Hz: a hundred frames for each code.

    Raises:
        ValueError: No recording is in both, or ``old`` was made by another codec.
    """
    first, second = TokenDataset(old, fingerprint=codec), TokenDataset(new)
    places = {_key(first.labels(n)): n for n in range(len(first))}
    keys = [_key(second.labels(n)) for n in range(len(second))]
    pairs = [(places[key], n) for n, key in enumerate(keys) if key in places]
    if not pairs:
        raise ValueError(
            f"none of the {len(second)} recordings in {new} is among the {len(first)} in {old}:"
            " tokenize the same sources with both codecs"
        )
    before: list[torch.Tensor] = []
    after: list[torch.Tensor] = []
    count = 0
    for place in torch.randperm(len(pairs), generator=torch.Generator().manual_seed(0)).tolist():
        if count >= limit:
            break
        a, b = pairs[place]
        before.append(first[a].codes.T)
        after.append(second[b].codes.T)
        count += len(before[-1])
    return torch.cat(before), torch.cat(after)


def _key(row: TokenRow) -> tuple[str, int]:
    """Id and number of columns, which identify a recording."""
    return row.id, row.codes.shape[-1]
