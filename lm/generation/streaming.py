"""Streaming generation: waveform chunks of every row, as soon as their frames are complete.

    generation step -> rows -> whole frames [K,Q] -> stream decoder of the codec -> samples [1,1,S]

The codes are exactly those of `AudioLM.generate`, the waveform is the same up to rounding.

Shapes: `K` codebooks, `Q` new frames of codes, `S` samples.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor

from ...codec.streaming import StreamDecoder
from ..inference import faster_layers
from ..model import AudioLM
from .decoding import Decoding
from .generate import prepare
from .output import GeneratedRow
from .row_decoders import RowDecoders, RowFrames


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
class AudioStream:
    """The audio of all rows of a decoding: an iterator over chunks, made by :func:`stream`.

    Texts have no chunks. Rows may join the decoding meanwhile.
    """

    lm: AudioLM
    codec: StreamingCodec
    decoding: Decoding
    chunk_frames: int  # most frames of a chunk
    row_chunk_frames: dict[int, int] = field(default_factory=dict)  # of single rows, by number
    first_chunk_latency: float | None = None  # seconds from the first `next` to the first audio
    _start: float = field(default_factory=time.perf_counter)

    def __post_init__(self) -> None:
        self._decoders = RowDecoders(self.codec)

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
        chunks = []
        with self.decoding.threads():
            sounds = list(self._decoders.decode(self._frames()))
        for sound in sounds:
            seconds = time.perf_counter() - self._start
            if self.first_chunk_latency is None and sound.codes.shape[1]:
                self.first_chunk_latency = seconds
            result = self.decoding.finished[sound.number] if sound.last else None
            codes, start = sound.codes.cpu(), sound.start
            chunks.append(AudioChunk(sound.number, codes, sound.waveform, start, seconds, result))
        return chunks

    def _open(self) -> None:
        """Make a decoder for each new row and push the prefix of its target."""
        known = self._decoders.numbers
        for number, (state, place) in self.decoding.rows.items():
            if number in known or state.target.kind == "text":
                continue
            prefix = state.frames(place, 0, state.frames_ready(place))
            w = self.decoding.prompts[number].frames_per_query
            chunk_frames = self.row_chunk_frames.pop(number, self.chunk_frames)
            self._decoders.open(number, w, prefix, chunk_frames)

    def _frames(self) -> dict[int, RowFrames]:
        """What is ready of each row that is open."""
        finished, running = self.decoding.finished, self.decoding.rows
        found = {}
        for number in self._decoders.numbers:
            result = finished.get(number)
            if result is not None and result.codes is not None:
                codes = result.codes
                found[number] = RowFrames(codes.shape[1], partial(_part, codes), True)
            elif number in running:
                state, place = running[number]
                ready = state.frames_ready(place)
                found[number] = RowFrames(ready, partial(state.frames, place), False)
        return found


def _part(codes: Tensor, start: int, stop: int) -> Tensor:
    return codes[:, start:stop]


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
        chunk_frames: most frames in a chunk; the first chunk of a row has one frame.
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
