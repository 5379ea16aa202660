"""RowDecoders: the stream decoders of the rows of a decoding.

The first sound of a row is decoded alone, at once, and so is its last. In between it is decoded
together with all others of its frame rate: a codec decodes one frame of many rows in little more
time than one of a single row, and a few frames in little more time than one.

Shapes: `K` codebooks, `q` new frames, `S` samples.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
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
        self._waiting: dict[int, list[_Batch]] = {}  # single rows, until they join a batch
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

        A row is decoded alone when its first frame is ready and when it ends, otherwise together
        with all others as soon as one of them has its `chunk_frames`. It joins them then, too: a
        batch decoded whenever a row begins or ends would be decoded at nearly every frame.
        """
        for w, batch in self._batches.items():
            self._keep(batch, [n for n, row in enumerate(batch.rows) if row.number in frames])
            yield from self._end(batch, frames)
            waiting = self._waiting.get(w, [])
            waiting[:] = [one for one in waiting if one.rows[0].number in frames]
        for number, one in list(self._silent.items()):
            if number not in frames:
                del self._silent[number]
            elif frames[number].ready > one.rows[0].sent or frames[number].ended:
                del self._silent[number]
                yield from self._catch_up(one, frames)
                if not frames[number].ended:
                    self._waiting.setdefault(one.decoder.frames_per_query, []).append(one)
        for w in list(self._waiting):
            yield from self._end_waiting(w, frames)
        for w in {**self._batches, **self._waiting}:
            yield from self._advance(w, frames)

    def _end(self, batch: _Batch, frames: dict[int, RowFrames]) -> Iterator[RowSound]:
        """Decode the rest of the rows of a batch that have ended, and remove them."""
        ended = [place for place, row in enumerate(batch.rows) if frames[row.number].ended]
        for place in ended:
            row, decoder = batch.rows[place], batch.decoder
            if frames[row.number].ready > row.sent:
                decoder = decoder.select([place])
            yield from self._catch_up(_Batch(decoder, [row]), frames)
        if ended:
            self._keep(batch, [place for place in range(len(batch.rows)) if place not in ended])

    def _end_waiting(self, w: int, frames: dict[int, RowFrames]) -> Iterator[RowSound]:
        """Decode the rest of the waiting rows that have ended, and remove them."""
        for one in list(self._waiting[w]):
            if frames[one.rows[0].number].ended:
                yield from self._catch_up(one, frames)
                self._waiting[w].remove(one)

    def _advance(self, w: int, frames: dict[int, RowFrames]) -> Iterator[RowSound]:
        """Decode the rows of a batch if a chunk is full; waiting rows join it."""
        batch, waiting = self._batches.get(w), self._waiting.pop(w, [])
        rows = [row for one in ([batch] if batch else []) + waiting for row in one.rows]
        left = {row.number: frames[row.number].ready - row.sent for row in rows}
        full = any(left[row.number] >= row.chunk_frames for row in rows)
        if batch is not None and batch.rows:
            if not full:
                self._waiting[w] = waiting
                return
            yield from self._push(batch, frames, min(left[row.number] for row in batch.rows))
        for one in waiting:
            if left[one.rows[0].number]:
                yield from self._catch_up(one, frames)
        self._join(w, waiting)

    def _join(self, w: int, waiting: list[_Batch]) -> None:
        """Let waiting rows share the decoder of a batch; a batch without rows is removed."""
        batches = [one for one in (self._batches.pop(w, None), *waiting) if one and one.rows]
        if batches:
            self._batches[w], *others = batches
            if others:
                self._batches[w].decoder.join([other.decoder for other in others])
                self._batches[w].rows += [row for other in others for row in other.rows]

    def _catch_up(self, batch: _Batch, frames: dict[int, RowFrames]) -> Iterator[RowSound]:
        """Decode all frames of a row that has a decoder of its own."""
        (row,) = batch.rows
        source = frames[row.number]
        start, row.sent = row.sent, max(row.sent, source.ready)
        codes = source.frames(start, row.sent)
        waveform = batch.decoder.push(codes.to(self._codec.device))
        yield RowSound(row.number, start, codes, waveform, source.ended)

    def _push(self, batch: _Batch, frames: dict[int, RowFrames], count: int) -> Iterator[RowSound]:
        """Decode `count` frames of every row."""
        if not count:
            return
        device = self._codec.device
        parts = [
            frames[row.number].frames(row.sent, row.sent + count).to(device) for row in batch.rows
        ]
        waveforms = batch.decoder.push(torch.stack(parts))
        for row, part, wav in zip(batch.rows, parts, waveforms, strict=True):
            start, row.sent = row.sent, row.sent + count
            yield RowSound(row.number, start, part, wav[None], last=False)

    @staticmethod
    def _keep(batch: _Batch, places: list[int]) -> None:
        if len(places) < len(batch.rows):
            batch.rows = [batch.rows[place] for place in places]
            if places:
                batch.decoder = batch.decoder.select(places)
