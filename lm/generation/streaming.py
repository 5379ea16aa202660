"""Sound while it is being made: waveform chunks of every row, as soon as their frames are known.

    generation step -> rows -> whole frames [K,q] -> the codec's stream decoder -> samples [1,1,S]

The steps and the decoder are those of the offline way, so the result is the same: the codes
exactly, the waveform to rounding.

Letters: `K` codebooks, `q` new frames of codes, `S` samples, `w` codec frames per code frame.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
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
    """What a stream of sound asks of the codec (`codec.model.ALMTokenizer`)."""

    @property
    def num_codebooks(self) -> int:
        """Streams of codes."""

    @property
    def codebook_size(self) -> int:
        """Codes of each."""

    @property
    def device(self) -> torch.device:
        """Where its weights are."""

    @property
    def fingerprint(self) -> str:
        """What its codes mean."""

    def stream_decoder(self, frames_per_query: int | None = None) -> StreamDecoder:
        """Open a stream from codes to waveform."""


@dataclass(frozen=True)
class AudioChunk:
    """A piece of one row's sound."""

    row: int  # in the batch of prompts
    codes: Tensor  # [K, q] int64, the frames of this chunk
    waveform: Tensor  # [1, 1, S]
    start: int  # number of the chunk's first frame; the given beginning has the first numbers
    seconds: float  # since the stream began: of a row's first chunk, its latency
    result: GeneratedRow | None  # with the row's last chunk (which may be without frames)


@dataclass
class _Row:
    """How far a row's sound is."""

    decoder: StreamDecoder
    sent: int  # frames
    silent: bool = True  # nothing was handed out yet


@dataclass
class AudioStream:
    """An iterator over the chunks of all rows; closing it ends the generation.

    Made by :func:`stream`.
    """

    lm: AudioLM
    codec: StreamingCodec
    decoding: Decoding
    chunk_frames: int
    first_chunk_latency: float | None = None  # seconds from the first `next` to the first sound
    _rows: dict[int, _Row] = field(default_factory=dict)
    _began: float = 0.0

    def __iter__(self) -> Iterator[AudioChunk]:
        self._began = time.perf_counter()
        with faster_layers(self.lm, compiled=self.decoding.compiled):
            while self.decoding.running:
                # The caller works between two chunks: not under our no_grad.
                with torch.no_grad():
                    chunks = list(self._advance())
                yield from chunks

    def _advance(self) -> Iterator[AudioChunk]:
        if not self._rows:
            self._open()
        before = set(self.decoding.finished)
        self.decoding.step()
        sources = self.decoding.rows
        for number, row in self._rows.items():
            if number in before:
                continue
            result = self.decoding.finished.get(number)
            if result is not None:
                assert result.codes is not None
                yield self._chunk(number, row, result.codes[:, row.sent :], result)
                row.decoder.finish()
                continue
            writer, place = sources[number]
            ready = writer.frames_ready(place)
            wanted = 1 if row.silent else self.chunk_frames
            if ready - row.sent >= wanted:
                yield self._chunk(number, row, writer.frames(place, row.sent, ready), None)

    def _open(self) -> None:
        """A decoder for each row, which has heard the row's given beginning."""
        for number, (writer, place) in self.decoding.rows.items():
            decoder = self.codec.stream_decoder(self.decoding.prompts[number].frames_per_query)
            known = writer.frames_ready(place)
            decoder.push(writer.frames(place, 0, known).to(self.codec.device))
            self._rows[number] = _Row(decoder, known)

    def _chunk(
        self, number: int, row: _Row, codes: Tensor, result: GeneratedRow | None
    ) -> AudioChunk:
        waveform = row.decoder.push(codes.to(self.codec.device))
        seconds = time.perf_counter() - self._began
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
    """Generate audio and hand it out while it is made.

    The given beginning of a continued audio is heard by the decoder, but not handed out again
    (where a pattern delays codebooks, its last K - 1 frames are written anew and handed out).

    Args:
        lm: the model.
        codec: the one whose codes the model knows, on any device.
        input_ids: prompts as rows `[B, L, 1+K]`; all targets are audio.
        attention_mask: `[B, L]`.
        chunk_frames: frames in a chunk; the first of a row comes with its first frame.
        kwargs: as of :func:`almtok.lm.generation.generate.prepare`.

    Example:
        >>> for chunk in stream(lm, codec, **batch):  # doctest: +SKIP
        ...     player.write(chunk.waveform)

    Raises:
        ValueError: for another codec than the model's, a chunk without frames, text targets, and as
            `prepare` does.
    """
    _check_codec(lm, codec)
    if chunk_frames < 1:
        raise ValueError(f"chunk_frames must be at least 1; came {chunk_frames}")
    kwargs.setdefault("target", "audio")
    return AudioStream(lm, codec, prepare(lm, input_ids, attention_mask, **kwargs), chunk_frames)


def _check_codec(lm: AudioLM, codec: StreamingCodec) -> None:
    config = lm.config
    ours, theirs = (
        (config.num_codebooks, config.codebook_size),
        (
            codec.num_codebooks,
            codec.codebook_size,
        ),
    )
    if ours != theirs:
        raise ValueError(
            f"the model writes {ours[0]} codebooks of {ours[1]} codes; the codec has {theirs[0]} "
            f"of {theirs[1]}"
        )
    if config.codec_fingerprint is not None and config.codec_fingerprint != codec.fingerprint:
        raise ValueError(
            f"the model writes codes of codec {config.codec_fingerprint}; this is codec "
            f"{codec.fingerprint}: its sounds would mean nothing"
        )
