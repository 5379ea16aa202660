"""TokensMixin: one recording <-> AudioTokens, and streams.

Letters: `S` samples.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor

from ..core.audio import read_audio
from .streaming import StreamDecoder, StreamEncoder
from .tokens import AudioTokens

if TYPE_CHECKING:
    from .model import ALMTokenizer


class TokensMixin:
    """Methods of the codec beside the interface of the Hugging Face codecs."""

    def tokenize(
        self,
        audio: Tensor | str | os.PathLike[str],
        sampling_rate: int | None = None,
        frames_per_query: int | None = None,
    ) -> AudioTokens:
        """Encode one recording, a file or samples `[S]`, to :class:`AudioTokens`."""
        codec = cast("ALMTokenizer", self)
        if isinstance(audio, str | os.PathLike):
            wav = torch.as_tensor(read_audio(audio, codec.sample_rate))
            sampling_rate = codec.sample_rate
        else:
            wav = torch.as_tensor(audio)
        if wav.ndim != 1:
            raise ValueError(f"audio must be one recording [S], got {list(wav.shape)}")
        out = codec.encode(
            wav[None, None].to(codec.device),
            frames_per_query=frames_per_query,
            sampling_rate=sampling_rate,
            return_dict=True,
        )
        w, codes = codec.checked_window(frames_per_query), out.audio_codes[0].cpu()
        return AudioTokens(codes, w, wav.shape[-1], codec.sample_rate, codec.fingerprint)

    def detokenize(self, tokens: AudioTokens) -> Tensor:
        """Decode :class:`AudioTokens` of this codec to samples `[S]`.

        Raises:
            ValueError: The tokens are of another codec.
        """
        codec = cast("ALMTokenizer", self)
        if tokens.fingerprint != codec.fingerprint:
            raise ValueError(
                f"tokens must be of codec {codec.fingerprint}, got tokens of {tokens.fingerprint}:"
                " codes of different codecs are not compatible"
            )
        codes = tokens.codes[None].to(codec.device)
        w, length = tokens.frames_per_query, tokens.num_samples
        out = codec.decode(codes, frames_per_query=w, length=length, return_dict=True)
        return out.audio_values[0, 0]

    def stream_encoder(self, frames_per_query: int | None = None) -> StreamEncoder:
        """Open a stream from waveform chunks to codes."""
        codec = self._streamable()
        return StreamEncoder(codec, codec.checked_window(frames_per_query))

    def stream_decoder(self, frames_per_query: int | None = None) -> StreamDecoder:
        """Open a stream from codes to waveform."""
        codec = self._streamable()
        return StreamDecoder(codec, codec.checked_window(frames_per_query))

    def _streamable(self) -> ALMTokenizer:
        codec = cast("ALMTokenizer", self)
        if codec.config.attention_mode == "full":
            raise ValueError("attention_mode must be causal for streams, got 'full'")
        return codec
