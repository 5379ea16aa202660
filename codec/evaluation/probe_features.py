"""Features of clips for linear probes, pooled to windows of equal length.

Shapes: S samples, N frames of a clip, P width, K codebooks, C entries, Q windows.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
import soxr
import torch
import torch.nn.functional as F
from torch import Tensor

from ...core.audio import Waveform
from ...core.metrics.audio import SCORE_RATE
from ...core.metrics.spectral import MEL_HOP, log_mel
from ..model import ALMTokenizer
from ..priors.teacher import Teacher
from ..streaming import StepState
from .codecs import EvaluatedCodec
from .embeddings import embed_frames

_CHUNK_SECONDS = 10.0


@dataclass(frozen=True)
class Frames:
    """Features of one clip at their own rate."""

    values: Tensor  # [N, P] float32, or codes [N, K] int64
    rate: float  # frames per second
    entries: int = 0  # C, for codes

    def pooled(self, windows: int, rate: float) -> Tensor:
        """Mean over each window [Q, P]; of codes, of their one-hot vectors, sparse [Q, K C].

        A window without a frame, at rates above that of the features, gets the frame at its middle.

        Args:
            windows: Q.
            rate: windows per second.
        """
        window, frame = self._members(windows, rate)
        share = 1.0 / torch.bincount(window, minlength=windows).clamp_min(1)[window]
        if not self.entries:
            pooled = torch.zeros(windows, self.values.shape[1])
            return pooled.index_add(0, window, self.values[frame] * share[:, None])
        books = self.values.shape[1]
        columns = self.values[frame] + self.entries * torch.arange(books)
        places = torch.stack([window[:, None].expand(-1, books).flatten(), columns.flatten()])
        shares = share[:, None].expand(-1, books).flatten()
        return torch.sparse_coo_tensor(
            places, shares, (windows, books * self.entries), check_invariants=True
        ).coalesce()

    def mean(self) -> Tensor:
        """The same over the whole clip, [1, P]."""
        return self.pooled(1, self.rate / max(1, len(self.values)))

    def _members(self, windows: int, rate: float) -> tuple[Tensor, Tensor]:
        """Pairs of window and frame, by window."""
        count = len(self.values)
        frame = torch.arange(count)
        window = ((frame + 0.5) / self.rate * rate).long()
        frame, window = frame[window < windows], window[window < windows]
        empty = torch.ones(windows, dtype=torch.bool)
        empty[window] = False
        alone = empty.nonzero()[:, 0]
        nearest = ((alone + 0.5) / rate * self.rate).long().clamp_max(count - 1)
        window, order = torch.cat([window, alone]).sort(stable=True)
        return window, torch.cat([frame, nearest])[order]


class Features(ABC):
    """Computes one or several kinds of features of a clip."""

    @abstractmethod
    def __call__(self, wav: Waveform) -> dict[str, Frames]:
        """Features by name of a clip [S] at `SCORE_RATE`."""


class LogMel(Features):
    """Log-mel spectrum in dB, 80 bands: the baseline."""

    def __call__(self, wav: Waveform) -> dict[str, Frames]:
        """`log-mel` [N, 80]."""
        values = torch.from_numpy(log_mel(wav, SCORE_RATE).astype(np.float32))
        return {"log-mel": Frames(values, SCORE_RATE / MEL_HOP)}


class EmbeddingFeatures(Features):
    """Features of a named embedding (`load_embedding`)."""

    def __init__(self, embedding: Teacher) -> None:
        self.embedding = embedding

    def __call__(self, wav: Waveform) -> dict[str, Frames]:
        """Its vectors [N, P]."""
        values = embed_frames(self.embedding, wav, SCORE_RATE).float().cpu()
        return {self.embedding.name: Frames(values, self.embedding.frame_rate)}


class TokenizerFeatures(Features):
    """Queries, quantized queries and codes of an ALMTokenizer."""

    def __init__(self, model: ALMTokenizer, name: str, frames_per_query: int | None = None) -> None:
        self.model, self.name = model.eval(), name
        self.window = model.checked_window(frames_per_query)
        self.rate = model.config.query_rate(self.window)

    @torch.inference_mode()
    def __call__(self, wav: Waveform) -> dict[str, Frames]:
        """`queries` and `quantized` [Q, D], `codes` [Q, K] and `first code` [Q, 1]."""
        config = self.model.config
        samples = wav
        if config.sample_rate != SCORE_RATE:
            samples = soxr.resample(wav, SCORE_RATE, config.sample_rate).astype(np.float32)
        queries = self._queries(torch.from_numpy(np.ascontiguousarray(samples)))
        codes = self.model.quantizer.quantize(queries)  # [1, K, Q]
        quantized = self.model.quantizer.dequantize(codes)
        columns = codes[0].T.cpu().clone()
        found = {
            "queries": Frames(queries[0].float().cpu().clone(), self.rate),
            "quantized": Frames(quantized[0].float().cpu().clone(), self.rate),
            "codes": Frames(columns, self.rate, config.codebook_size),
            "first code": Frames(columns[:, :1], self.rate, config.codebook_size),
        }
        return {f"{self.name}, {kind}": frames for kind, frames in found.items()}

    def _queries(self, wav: Tensor) -> Tensor:
        """Queries before quantization [1, Q, D] of samples [S]."""
        size = self.model.config.hop_length * self.window
        wav = F.pad(wav, (0, -len(wav) % size))[None, None].to(self.model.device)
        whole = self.model.config.attention_mode == "full"
        chunk = max(1, int(_CHUNK_SECONDS * self.model.sample_rate / size)) * size
        state, queries = StepState(), []
        for part in wav.split(wav.shape[-1] if whole else chunk, dim=-1):
            frames, conv = self.model.patchify.step(part.to(self.model.dtype), state.conv)
            found, caches = self.model.encoder.step(frames, self.window, state.transformer)
            state = StepState(conv, caches)
            queries.append(found)
        return torch.cat(queries, dim=1)


class CodecFeatures(Features):
    """Codes of any codec with codebooks."""

    def __init__(self, codec: EvaluatedCodec) -> None:
        if codec.codebook_size is None:
            raise ValueError(f"probes need a codec with codebooks, got {codec.name}")
        self.codec = codec

    def __call__(self, wav: Waveform) -> dict[str, Frames]:
        """`codes` [N, K]."""
        samples = soxr.resample(wav, SCORE_RATE, self.codec.sample_rate).astype(np.float32)
        codes = self.codec.encode(np.ascontiguousarray(samples))
        rate, entries = self.codec.frame_rate or 0.0, self.codec.codebook_size or 0
        frames = Frames(torch.from_numpy(codes.T.copy()), rate, entries)
        return {f"{self.codec.name}, codes": frames}
