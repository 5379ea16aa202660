"""Streaming: chunks of audio to codes and back, with a latency of one window.

Streams and offline calls use the same step functions, so their results are equal
(tests/codec/test_parity.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from .cache import AttentionCache
from .config import ALMTokenizerConfig


class StreamingModule(nn.Module):
    """Base of modules whose offline call is one step from the start of the signal."""

    def step(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        """Process the next part of a signal; a state of None is its start."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """Process a whole signal."""
        return self.step(x, None)[0]


@dataclass
class StepState:
    """State of encoder or decoder between two steps of a stream."""

    conv: Any = None  # of Patchify or UnPatchify
    transformer: Any = None  # caches of the query encoder or decoder


def joined(states: Sequence[Any]) -> Any:
    """States of the same module after at least one step, as that of a batch of all their rows."""
    first = states[0]
    if first is None:
        return None
    if isinstance(first, AttentionCache):
        return AttentionCache.joined(states)
    if isinstance(first, Tensor):
        return torch.cat(list(states))
    if isinstance(first, list | tuple):
        return type(first)(joined(parts) for parts in zip(*states, strict=True))
    parts = {f.name: joined([getattr(state, f.name) for state in states]) for f in fields(first)}
    return type(first)(**parts)


def selected(state: Any, rows: Sequence[int]) -> Any:
    """The state of some rows of a batch."""
    if state is None:
        return None
    if isinstance(state, AttentionCache):
        return state.selected(rows)
    if isinstance(state, Tensor):
        return state[torch.tensor(list(rows), device=state.device)]
    if isinstance(state, list | tuple):
        return type(state)(selected(part, rows) for part in state)
    return type(state)(**{f.name: selected(getattr(state, f.name), rows) for f in fields(state)})


class SteppingCodec(Protocol):
    """Interface of a codec for streams."""

    config: ALMTokenizerConfig

    @property
    def device(self) -> torch.device:
        """Device of the weights."""

    def encode_step(
        self, wav: Tensor, frames_per_query: int, state: StepState
    ) -> tuple[Tensor, StepState]:
        """Encode the next whole windows `[B, 1, q * w * hop]` to codes `[B, K, q]`."""

    def decode_step(
        self, codes: Tensor, frames_per_query: int, state: StepState
    ) -> tuple[Tensor, StepState]:
        """Decode the next codes `[B, K, q]` to a waveform `[B, 1, q * w * hop]`."""

    def check_waveform(self, wav: Tensor, *, allow_empty: bool = False) -> None:
        """Raise a ValueError unless `wav` is a waveform of this codec."""

    def check_codes(self, codes: Tensor, *, allow_empty: bool = False) -> None:
        """Raise a ValueError unless `codes` are codes of this codec."""


@dataclass
class StreamEncoder:
    """Encodes waveform chunks of any length; returns the codes of each full window.

    Created by :meth:`ALMTokenizer.stream_encoder`; can be a context manager.
    """

    codec: SteppingCodec
    frames_per_query: int
    num_samples: int = 0  # pushed so far
    _state: StepState = field(default_factory=StepState)
    _rest: Tensor | None = None  # [B, 1, < window] samples that do not fill a window yet
    _closed: bool = False

    def push(self, chunk: Tensor) -> Tensor:
        """Add samples `[S]`, `[1, S]` or `[B, 1, S]`; return the new codes `[B, K, q]`, q >= 0."""
        self._check_open()
        chunk = _as_waveform(chunk)
        self.codec.check_waveform(chunk, allow_empty=True)
        self.num_samples += chunk.shape[-1]
        rest = chunk if self._rest is None else torch.cat([self._rest, chunk], dim=-1)
        window = self.codec.config.hop_length * self.frames_per_query
        whole = rest.shape[-1] // window * window
        self._rest = rest[..., whole:].clone()
        return self._encode(rest[..., :whole])

    def finish(self) -> Tensor:
        """End the stream: pad the last window with zeros and return its codes `[B, K, 0 or 1]`."""
        self._check_open()
        self._closed = True
        rest = self._rest
        if rest is None:
            rest = torch.zeros(1, 1, 0, device=self.codec.device)
        window = self.codec.config.hop_length * self.frames_per_query
        if rest.shape[-1]:
            rest = torch.nn.functional.pad(rest, (0, window - rest.shape[-1]))
        return self._encode(rest)

    def __enter__(self) -> StreamEncoder:
        return self

    def __exit__(self, *_: object) -> None:
        self._closed = True

    def _encode(self, wav: Tensor) -> Tensor:
        if wav.shape[-1] == 0:
            return torch.zeros(
                wav.shape[0],
                self.codec.config.num_codebooks,
                0,
                dtype=torch.int64,
                device=wav.device,
            )
        with torch.no_grad():
            codes, self._state = self.codec.encode_step(wav, self.frames_per_query, self._state)
        return codes

    def _check_open(self) -> None:
        if self._closed:
            raise ValueError("this stream is finished; open a new one with stream_encoder()")


@dataclass
class StreamDecoder:
    """Decodes codes to the waveform of their windows, without look-ahead.

    Created by :meth:`ALMTokenizer.stream_decoder`; can be a context manager.
    """

    codec: SteppingCodec
    frames_per_query: int
    _state: StepState = field(default_factory=StepState)
    _closed: bool = False

    def push(self, codes: Tensor) -> Tensor:
        """Add codes `[K, q]` or `[B, K, q]`; return their waveform `[B, 1, q * w * hop]`."""
        if self._closed:
            raise ValueError("this stream is finished; open a new one with stream_decoder()")
        codes = codes.unsqueeze(0) if codes.ndim == 2 else codes
        self.codec.check_codes(codes, allow_empty=True)
        if codes.shape[-1] == 0:
            return torch.zeros(codes.shape[0], 1, 0, device=codes.device)
        with torch.no_grad():
            wav, self._state = self.codec.decode_step(codes, self.frames_per_query, self._state)
        return wav

    def join(self, others: Sequence[StreamDecoder]) -> None:
        """Add the streams of others as further rows; codes were pushed to each of them.

        The streams need not be equally long. The others are not to be used any more.
        """
        self._state = joined([self._state, *(other._state for other in others)])

    def select(self, rows: Sequence[int]) -> StreamDecoder:
        """A decoder that continues some rows of this one."""
        return StreamDecoder(self.codec, self.frames_per_query, selected(self._state, rows))

    def finish(self) -> None:
        """End the stream; the decoder has no look-ahead, so no samples are left."""
        self._closed = True

    def __enter__(self) -> StreamDecoder:
        return self

    def __exit__(self, *_: object) -> None:
        self.finish()


def _as_waveform(chunk: Tensor) -> Tensor:
    """Reshape `[S]` and `[1, S]` to `[1, 1, S]`."""
    if chunk.ndim == 1:
        return chunk[None, None]
    if chunk.ndim == 2 and chunk.shape[0] == 1:
        return chunk[None]
    return chunk
