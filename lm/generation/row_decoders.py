"""RowDecoders: the stream decoders of the rows of a decoding.

The first sound of a row is decoded alone, at once. From then on the row is decoded together with
all others of its frame rate: a codec decodes one frame of many rows in little more time than one of
a single row.

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
        self._batches: dict[int, _Batch] = {}  # by frames per query

    @property
    def numbers(self) -> set[int]:
        """Rows that are open."""
        batches = [*self._silent.values(), *self._batches.values()]
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

        A row is decoded when its first frame is ready and when it ends, and together with the
        others when one of them begins or ends or its `chunk_frames` are ready.
        """
        begin = []
        for number, batch in list(self._silent.items()):
            if number not in frames:
                del self._silent[number]
            elif frames[number].ready > batch.rows[0].sent or frames[number].ended:
                begin.append(self._silent.pop(number))
        for w, batch in list(self._batches.items()):
            joins = any(other.decoder.frames_per_query == w for other in begin)
            yield from self._advance(batch, frames, joins)
            if not batch.rows:
                del self._batches[w]
        for batch in begin:
            yield from self._catch_up(batch, frames)
        self._join([batch for batch in begin if not frames[batch.rows[0].number].ended])

    def _join(self, begin: list[_Batch]) -> None:
        """Let rows that have begun share a decoder."""
        for w in {batch.decoder.frames_per_query for batch in begin}:
            batches = [batch for batch in begin if batch.decoder.frames_per_query == w]
            if w in self._batches:
                batches.insert(0, self._batches[w])
            self._batches[w], *others = batches
            if others:
                self._batches[w].decoder.join([other.decoder for other in others])
                self._batches[w].rows += [row for other in others for row in other.rows]

    def _advance(
        self, batch: _Batch, frames: dict[int, RowFrames], joins: bool
    ) -> Iterator[RowSound]:
        """Decode the rows of a batch, and remove those that end or are closed."""
        self._keep(batch, [n for n, row in enumerate(batch.rows) if row.number in frames])
        left = [frames[row.number].ready - row.sent for row in batch.rows]
        ended = [frames[row.number].ended for row in batch.rows]
        going = [count for count, end in zip(left, ended, strict=True) if not end]
        full = any(n >= row.chunk_frames for n, row in zip(left, batch.rows, strict=True))
        if joins or full or any(ended):
            yield from self._push(batch, frames, min(going) if going else max(left, default=0))
        for place in [place for place, end in enumerate(ended) if end]:
            row, decoder = batch.rows[place], batch.decoder
            if frames[row.number].ready > row.sent:
                decoder = decoder.select([place])
            yield from self._catch_up(_Batch(decoder, [row]), frames)
        if any(ended):
            self._keep(batch, [place for place, end in enumerate(ended) if not end])

    def _catch_up(self, batch: _Batch, frames: dict[int, RowFrames]) -> Iterator[RowSound]:
        """Decode all frames of a row that has a decoder of its own."""
        (row,) = batch.rows
        source = frames[row.number]
        start, row.sent = row.sent, max(row.sent, source.ready)
        codes = source.frames(start, row.sent)
        waveform = batch.decoder.push(codes.to(self._codec.device))
        yield RowSound(row.number, start, codes, waveform, source.ended)

    def _push(self, batch: _Batch, frames: dict[int, RowFrames], count: int) -> Iterator[RowSound]:
        """Decode `count` frames of every row, of rows that end at most what they have."""
        if not count:
            return
        parts = []
        for row in batch.rows:
            stop = min(row.sent + count, frames[row.number].ready)
            part = frames[row.number].frames(row.sent, stop)  # of a row that ended, on the CPU
            parts.append(part.to(self._codec.device))
        # The decoder is causal: what follows the last frame of a row does not change its sound.
        codes = torch.stack([F.pad(part, (0, count - part.shape[1])) for part in parts])
        waveforms = batch.decoder.push(codes)
        size = waveforms.shape[-1] // count
        for row, part, wav in zip(batch.rows, parts, waveforms, strict=True):
            start, row.sent = row.sent, row.sent + part.shape[1]
            part_wav = wav[None, :, : size * part.shape[1]]
            yield RowSound(row.number, start, part, part_wav, last=False)

    @staticmethod
    def _keep(batch: _Batch, places: list[int]) -> None:
        if len(places) < len(batch.rows):
            batch.rows = [batch.rows[place] for place in places]
            if places:
                batch.decoder = batch.decoder.select(places)
