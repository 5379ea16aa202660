"""What a codec makes of an excerpt, for pictures: codes, attention, confidence, reconstruction.

Letters: `S` samples, `K` codebooks, `Q` queries, `w` frames per query.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ..core.audio import AudioError, Waveform, read_audio
from .model import ALMTokenizer
from .query_attention import QueryAttention, query_attention
from .tokens import AudioTokens

# Audio before the excerpt that is encoded or decoded too, as context.
_LEAD_SECONDS = 10.0


@dataclass(frozen=True)
class Inspection:
    """An excerpt of a recording or of tokens, and what the codec makes of it.

    Attributes:
        start: of the excerpt in seconds, at the start of a window.
        original: `[S]`; None for tokens.
        reconstruction: `[S]`.
        codes: `[K, Q]`.
        window: seconds of a column of codes.
        frames_per_query: w.
        sample_rate: Hz.
        codebook_size: entries of a codebook.
        num_speech: entries of the first codebook that are of speech; 0 without a semantic prior.
        attention: of the queries; None for tokens and for a codec without query tokens.
        confidence: `[K, Q]`, how clearly the chosen entry is the nearest one: 1 - d1/d2 with the
            distances to it and to the second nearest; None for tokens.
    """

    start: float
    original: Waveform | None
    reconstruction: Waveform
    codes: npt.NDArray[np.int64]
    window: float
    frames_per_query: int
    sample_rate: int
    codebook_size: int
    num_speech: int
    attention: QueryAttention | None
    confidence: npt.NDArray[np.float32] | None

    @property
    def seconds(self) -> float:
        """Duration of the audio."""
        return self.reconstruction.size / self.sample_rate

    @property
    def span(self) -> float:
        """Seconds of all columns of codes; the last one may end after the audio."""
        return self.codes.shape[1] * self.window

    def filled(self, wav: Waveform) -> Waveform:
        """Samples `[S]` with zeros up to the end of the last column."""
        return np.pad(wav, (0, max(0, round(self.span * self.sample_rate) - wav.size)))


@dataclass(frozen=True)
class _Excerpt:
    """Columns of codes to show, and those before them that are computed too."""

    first: int  # column where computing starts
    lead: int  # columns before the excerpt
    count: int  # columns of the excerpt


def _excerpt(start: float, seconds: float, window: float) -> _Excerpt:
    if not (start >= 0 and seconds > 0):
        raise ValueError(f"start must be >= 0 and seconds > 0, got {start} and {seconds}")
    begin = int(start / window + 1e-9)
    lead = min(begin, int(_LEAD_SECONDS / window))
    return _Excerpt(begin - lead, lead, max(1, round(seconds / window)))


@torch.no_grad()
def inspect_audio(
    codec: ALMTokenizer,
    path: str | os.PathLike[str],
    start: float = 0.0,
    seconds: float = 10.0,
    frames_per_query: int | None = None,
) -> Inspection:
    """Encode and decode an excerpt of a file.

    Raises:
        AudioError: the file is unreadable or ends before the excerpt.
        ValueError: `start` or `seconds` is out of range.
    """
    w, rate = codec.checked_window(frames_per_query), codec.sample_rate
    samples = w * codec.config.hop_length  # of a window
    part = _excerpt(start, seconds, samples / rate)
    begin = part.first * samples / rate
    length = (part.lead + part.count) * samples / rate
    try:
        wav = read_audio(path, rate, start=begin, seconds=length)
    except AudioError as error:
        if error.reason != "empty":
            raise
        wav = np.zeros(0, np.float32)  # ends before the lead of the excerpt
    shown = wav[part.lead * samples :]
    if not shown.size:
        raise AudioError("empty", f"{path} has no samples after {start:g} s")
    padded = np.pad(wav, (0, -wav.size % samples))
    signal = torch.as_tensor(padded, device=codec.device, dtype=codec.dtype)
    frames = codec.patchify(signal[None, None])
    queries, attention = query_attention(codec.encoder, frames, w)
    codes, confidence = _quantize(codec, queries)
    decoded = codec.decode(codes[None], frames_per_query=w, length=wav.size, return_dict=True)
    return Inspection(
        original=shown,
        reconstruction=decoded.audio_values[0, 0, part.lead * samples :].cpu().numpy(),
        codes=codes[:, part.lead :].cpu().numpy(),
        attention=None if attention is None else attention.drop(part.lead),
        confidence=confidence[:, part.lead :].cpu().numpy(),
        **_common(codec, part, w),
    )


@torch.no_grad()
def inspect_tokens(
    codec: ALMTokenizer, tokens: AudioTokens, start: float = 0.0, seconds: float = 10.0
) -> Inspection:
    """Decode an excerpt of tokens.

    Raises:
        ValueError: the tokens are of another codec or end before the excerpt, or `start` or
            `seconds` is out of range.
    """
    w = tokens.frames_per_query
    samples = w * codec.config.hop_length
    part = _excerpt(start, seconds, samples / tokens.sample_rate)
    stop = part.first + part.lead + part.count
    codes = tokens.codes[:, part.first : stop]
    if codes.shape[1] <= part.lead:
        raise ValueError(f"start must be below {tokens.duration:.2f} s, got {start:g}")
    length = min(tokens.num_samples - part.first * samples, codes.shape[1] * samples)
    cut = AudioTokens(codes, w, length, tokens.sample_rate, tokens.fingerprint)
    wav = codec.detokenize(cut).cpu().numpy()
    return Inspection(
        original=None,
        reconstruction=wav[part.lead * samples :],
        codes=codes[:, part.lead :].numpy(),
        attention=None,
        confidence=None,
        **_common(codec, part, w),
    )


def _common(codec: ALMTokenizer, part: _Excerpt, frames_per_query: int) -> dict[str, Any]:
    window = frames_per_query * codec.config.hop_length / codec.sample_rate
    return {
        "start": (part.first + part.lead) * window,
        "window": window,
        "frames_per_query": frames_per_query,
        "sample_rate": codec.sample_rate,
        "codebook_size": codec.codebook_size,
        "num_speech": int(codec.quantizer.layers[0].codebook.num_speech),
    }


def _quantize(codec: ALMTokenizer, queries: Tensor) -> tuple[Tensor, Tensor]:
    """Codes `[K, Q]` of queries `[1, Q, D]`, and their confidence `[K, Q]`."""
    residual, codes, margins = queries[0].float(), [], []
    for layer in codec.quantizer.layers:
        vectors, entries = layer.compared(residual)
        distances = torch.cdist(vectors, entries, compute_mode="donot_use_mm_for_euclid_dist")
        nearest, second = distances.topk(2, dim=1, largest=False).values.unbind(dim=1)
        margins.append(1.0 - nearest / second.clamp_min(1e-12))
        codes.append(layer.nearest(residual))
        residual = residual - layer.decode(codes[-1])
    return torch.stack(codes), torch.stack(margins)
