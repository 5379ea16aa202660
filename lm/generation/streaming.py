"""Streaming generation: waveform chunks of every row, as soon as their frames are complete.

    generation step -> rows -> whole frames [K,Q] -> stream decoder of the codec -> samples [1,1,S]

The codes are exactly those of `AudioLM.generate`, the waveform is the same up to rounding.

Shapes: `K` codebooks, `Q` new frames of codes, `S` samples.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import torch
from torch import Tensor

from ...codec.streaming import StreamDecoder
from ..inference import faster_layers
from ..model import AudioLM
from .decoding import Decoding
from .generate import prepare
from .output import GeneratedRow


class StreamingCodec(Protocol):
    """The part of the codec (`codec.model.ALMTokenizer`) that streaming uses."""

    @property
    def num_codebooks(self) -> int:
        """Number of codebooks."""

    @property
    def codebook_size(self) -> int:
        """Codes of each codebook."""

    @property
    def device(self) -> torch.device:
        """Device of its weights."""

    @property
    def fingerprint(self) -> str:
        """Identifies the codec."""

    def stream_decoder(self, frames_per_query: int | None = None) -> StreamDecoder:
        """Open a stream from codes to waveform."""


@dataclass(frozen=True)
class AudioChunk:
    """A chunk of the audio of a row."""

    row: int  # in the batch of prompts
    codes: Tensor  # [K, Q] int64, the frames of this chunk
    waveform: Tensor  # [1, 1, S]
    start: int  # index of the first frame; the prefix of the target has the first indices
    seconds: float  # since the start of the stream
    result: GeneratedRow | None  # with the last chunk of a row (which may have no frames)

    def without_prefix(self, frames: int) -> AudioChunk:
        """Cut frames of the prefix, of which patterns with delays generate the last ones again."""
        old = min(max(0, frames - self.start), self.codes.shape[1])
        if not old:
            return self
        samples = self.waveform.shape[-1] // self.codes.shape[1] * old
        return replace(
            self,
            codes=self.codes[:, old:],
            waveform=self.waveform[..., samples:],
            start=self.start + old,
        )


@dataclass
class _Row:
    """State of a row."""

    decoder: StreamDecoder
    sent: int  # frames
    silent: bool = True  # no chunk was yielded yet


@dataclass
class AudioStream:
    """The audio of all rows of a decoding: an iterator over chunks, made by :func:`stream`.

    Texts have no chunks. Rows may join the decoding meanwhile.
    """

    lm: AudioLM
    codec: StreamingCodec
    decoding: Decoding
    chunk_frames: int
    first_chunk_latency: float | None = None  # seconds from the first `next` to the first audio
    _rows: dict[int, _Row] = field(default_factory=dict)
    _start: float = 0.0

    def __iter__(self) -> Iterator[AudioChunk]:
        self._start = time.perf_counter()
        with faster_layers(self.lm, compiled=self.decoding.compiled):
            while self.decoding.running:
                # Not around the yield: the caller's code must not run under no_grad.
                with torch.no_grad():
                    chunks = self.advance()
                yield from chunks

    def advance(self) -> list[AudioChunk]:
        """Make a step of the decoding; returns what can be heard."""
        self._open()
        self.decoding.step()
        return list(self._chunks())

    def _chunks(self) -> Iterator[AudioChunk]:
        sources = self.decoding.rows
        for number, row in list(self._rows.items()):
            result = self.decoding.finished.get(number)
            if result is not None:
                assert result.codes is not None
                yield self._chunk(number, row, result.codes[:, row.sent :], result)
                row.decoder.finish()
            if result is not None or number not in sources:
                del self._rows[number]
                continue
            state, place = sources[number]
            ready = state.frames_ready(place)
            min_frames = 1 if row.silent else self.chunk_frames
            if ready - row.sent >= min_frames:
                yield self._chunk(number, row, state.frames(place, row.sent, ready), None)

    def _open(self) -> None:
        """Make a decoder for each new row and push the prefix of its target."""
        for number, (state, place) in self.decoding.rows.items():
            if number in self._rows or state.target.kind == "text":
                continue
            decoder = self.codec.stream_decoder(self.decoding.prompts[number].frames_per_query)
            ready = state.frames_ready(place)
            decoder.push(state.frames(place, 0, ready).to(self.codec.device))
            self._rows[number] = _Row(decoder, ready)

    def _chunk(
        self, number: int, row: _Row, codes: Tensor, result: GeneratedRow | None
    ) -> AudioChunk:
        waveform = row.decoder.push(codes.to(self.codec.device))
        seconds = time.perf_counter() - self._start
        if self.first_chunk_latency is None and codes.shape[1]:
            self.first_chunk_latency = seconds
        row.silent = row.silent and not codes.shape[1]
        start, row.sent = row.sent, row.sent + codes.shape[1]
        return AudioChunk(number, codes.cpu(), waveform, start, seconds, result)


def stream(
    lm: AudioLM,
    codec: StreamingCodec,
    input_ids: Tensor,
    attention_mask: Tensor | None = None,
    *,
    chunk_frames: int = 1,
    **kwargs: Any,
) -> AudioStream:
    """Generate audio and yield it while it is generated.

    The prefix of a target is decoded but not yielded (frames at its end that
    are incomplete, as the pattern delays codebooks, are generated again and yielded).

    Args:
        lm: the model.
        codec: the codec of the model, on any device.
        input_ids: prompts with audio targets, rows `[B, L, 1+K]`.
        attention_mask: `[B, L]`.
        chunk_frames: frames in a chunk; the first chunk of a row has one frame.
        kwargs: as of :func:`almtok.lm.generation.generate.prepare`.

    Example:
        >>> for chunk in stream(lm, codec, **batch):  # doctest: +SKIP
        ...     player.write(chunk.waveform)

    Raises:
        ValueError: for another codec than the model's, a chunk without frames, or text targets, and
            as :func:`prepare`.
    """
    check_codec(lm, codec)
    if chunk_frames < 1:
        raise ValueError(f"chunk_frames must be at least 1, got {chunk_frames}")
    kwargs.setdefault("target", "audio")
    return AudioStream(lm, codec, prepare(lm, input_ids, attention_mask, **kwargs), chunk_frames)


def check_codec(lm: AudioLM, codec: StreamingCodec) -> None:
    """Raise ValueError unless the codec is that of the model."""
    config = lm.config
    expected = (config.num_codebooks, config.codebook_size)
    sizes = (codec.num_codebooks, codec.codebook_size)
    if sizes != expected:
        raise ValueError(
            f"the codec must have {expected[0]} codebooks of {expected[1]} codes, got"
            f" {sizes[0]} of {sizes[1]}"
        )
    if config.codec_fingerprint is not None and config.codec_fingerprint != codec.fingerprint:
        raise ValueError(
            f"the model was trained on codes of codec {config.codec_fingerprint}, got codec "
            f"{codec.fingerprint}"
        )
