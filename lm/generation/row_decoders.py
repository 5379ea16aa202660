"""RowDecoders: the stream decoders of the rows of a decoding.

The first sound of a row is decoded at once, and so is its last. In between it is decoded together
with all others of its frame rate: a codec decodes one frame of many rows in little more time than
one of a single row, and a few frames in little more time than one.

Shapes: `K` codebooks, `q` new frames, `S` samples.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from ...codec.streaming import StreamDecoder


class DecodingCodec(Protocol):
    """The part of the codec that :class:`RowDecoders` uses."""

    @property
    def device(self) -> torch.device:
        """Device of its weights."""

    def stream_decoder(self, frames_per_query: int | None = None) -> StreamDecoder:
        """Open a stream from codes to waveform."""


@dataclass(frozen=True)
class RowFrames:
    """The frames of a row that are ready."""

    ready: int
    frames: Callable[[int, int], Tensor]  # (start, stop) -> codes [K, stop - start]
    ended: bool  # there will be no more


@dataclass(frozen=True)
class RowSound:
    """A part of the sound of a row."""

    number: int  # of the row
    start: int  # index of its first frame
    codes: Tensor  # [K, q]
    waveform: Tensor  # [1, 1, S]
    last: bool  # the row has ended; this part may have no frames


@dataclass
class _Row:
    number: int
    sent: int  # frames
    chunk_frames: int


@dataclass
class _Batch:
    """Rows of one frame rate that are decoded together."""

    decoder: StreamDecoder
    rows: list[_Row]


class RowDecoders:
    """Decodes rows, which may begin and end at any time."""

    def __init__(self, codec: DecodingCodec):
        self._codec = codec
        self._silent: dict[int, _Batch] = {}  # rows without sound, each with its own decoder
        self._waiting: dict[int, list[_Batch]] = {}  # rows that began together, until they join
        self._batches: dict[int, _Batch] = {}  # by frames per query

    @property
    def numbers(self) -> set[int]:
        """Rows that are open."""
        waiting = [batch for batches in self._waiting.values() for batch in batches]
        batches = [*self._silent.values(), *waiting, *self._batches.values()]
        return {row.number for batch in batches for row in batch.rows}

    def open(self, number: int, frames_per_query: int, prefix: Tensor, chunk_frames: int) -> None:
        """Add a row.

        Args:
            number: of the row.
            frames_per_query: of its codes.
            prefix: its first frames `[K, P]`, which are heard already.
            chunk_frames: most frames that wait until they are decoded.
        """
        decoder = self._codec.stream_decoder(frames_per_query)
        decoder.push(prefix.to(self._codec.device))
        self._silent[number] = _Batch(decoder, [_Row(number, prefix.shape[1], chunk_frames)])

    def decode(self, frames: dict[int, RowFrames]) -> Iterator[RowSound]:
        """Decode what is ready; open rows that are not in `frames` are closed.

        Rows are decoded at once when their first frame is ready and when they end, otherwise
        together with all others as soon as one of them has its `chunk_frames`. They join them then,
        too: a batch decoded whenever a row begins or ends would be decoded at nearly every frame.
        """
        self._close(frames)
        yield from self._begin(frames)
        for w in {**self._batches, **self._waiting}:
            waiting = self._waiting.setdefault(w, [])
            for batch in [*waiting, *([self._batches[w]] if w in self._batches else [])]:
                ended = [n for n, row in enumerate(batch.rows) if frames[row.number].ended]
                yield from self._end(batch, ended, frames)
            waiting[:] = [batch for batch in waiting if batch.rows]
            yield from self._advance(w, frames)

    def _close(self, frames: dict[int, RowFrames]) -> None:
        """Remove rows that are not in `frames`."""
        self._silent = {number: one for number, one in self._silent.items() if number in frames}
        waiting = [batch for batches in self._waiting.values() for batch in batches]
        for batch in [*self._batches.values(), *waiting]:
            self._keep(batch, [n for n, row in enumerate(batch.rows) if row.number in frames])

    def _begin(self, frames: dict[int, RowFrames]) -> Iterator[RowSound]:
        """Decode the first sound of rows, those that begin at this step together."""
        groups: dict[tuple[int, ...], list[_Batch]] = {}
        for number, one in list(self._silent.items()):
            (row,), source = one.rows, frames[number]
            if source.ready <= row.sent and not source.ended:
                continue
            del self._silent[number]
            # A decoder to which a prefix was pushed is of its row alone.
            alone = number if row.sent else -1
            key = (one.decoder.frames_per_query, source.ready - row.sent, source.ended, alone)
            groups.setdefault(key, []).append(one)
        for (w, count, ended, _), group in groups.items():
            batch = _Batch(group[0].decoder, [one.rows[0] for one in group])
            if ended:
                yield from self._end(batch, list(range(len(group))), frames)
            else:
                yield from self._push(batch, frames, count)
                self._waiting.setdefault(w, []).append(batch)

    def _end(
        self, batch: _Batch, places: list[int], frames: dict[int, RowFrames]
    ) -> Iterator[RowSound]:
        """Decode the rest of rows of a batch that have ended, and remove them.

        A decoder looks at no later frames, so that the shorter rests are padded.
        """
        if not places:
            return
        rows = [batch.rows[place] for place in places]
        parts = [self._part(row, frames[row.number].ready - row.sent, frames) for row in rows]
        most = max(part.shape[1] for part in parts)
        decoder = batch.decoder.select(places) if most else batch.decoder
        padded = [F.pad(part, (0, most - part.shape[1])) for part in parts]
        waveforms = decoder.push(torch.stack(padded))
        samples = waveforms.shape[-1] // max(1, most)  # of a frame
        for row, part, wav in zip(rows, parts, waveforms, strict=True):
            count = part.shape[1]
            start, row.sent = row.sent, row.sent + count
            yield RowSound(row.number, start, part, wav[None, :, : count * samples], last=True)
        self._keep(batch, [place for place in range(len(batch.rows)) if place not in places])

    def _advance(self, w: int, frames: dict[int, RowFrames]) -> Iterator[RowSound]:
        """Decode the rows of a batch if a chunk is full; waiting rows join it."""
        batch, waiting = self._batches.get(w), self._waiting.pop(w, [])
        batches = ([batch] if batch and batch.rows else []) + waiting
        left = {
            row.number: frames[row.number].ready - row.sent for one in batches for row in one.rows
        }
        full = any(left[row.number] >= row.chunk_frames for one in batches for row in one.rows)
        if batch is not None and batch.rows and not full:
            self._waiting[w] = waiting
            return
        for one in batches:
            yield from self._push(one, frames, min(left[row.number] for row in one.rows))
        self._join(w, batches)

    def _join(self, w: int, batches: list[_Batch]) -> None:
        """Let rows share a decoder; a batch without rows is removed."""
        self._batches.pop(w, None)
        if batches:
            self._batches[w], *others = batches
            if others:
                self._batches[w].decoder.join([other.decoder for other in others])
                self._batches[w].rows += [row for other in others for row in other.rows]

    def _push(self, batch: _Batch, frames: dict[int, RowFrames], count: int) -> Iterator[RowSound]:
        """Decode `count` frames of every row."""
        if not count:
            return
        parts = [self._part(row, count, frames) for row in batch.rows]
        waveforms = batch.decoder.push(torch.stack(parts))
        for row, part, wav in zip(batch.rows, parts, waveforms, strict=True):
            start, row.sent = row.sent, row.sent + count
            yield RowSound(row.number, start, part, wav[None], last=False)

    def _part(self, row: _Row, count: int, frames: dict[int, RowFrames]) -> Tensor:
        """The next codes of a row, `[K, count]`."""
        return frames[row.number].frames(row.sent, row.sent + count).to(self._codec.device)

    @staticmethod
    def _keep(batch: _Batch, places: list[int]) -> None:
        if len(places) < len(batch.rows):
            batch.rows = [batch.rows[place] for place in places]
            if places:
                batch.decoder = batch.decoder.select(places)
