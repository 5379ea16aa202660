"""Spectrum loss (`spectrum` in configs and logs): queries predict the spectrum of their window.

Ours (D; paper.md 5.1 has no such loss). The prediction is a linear map that is not exported.
Without this loss, queries of a small, short training have few dimensions: after 950 steps of `mini`
63 % of their variance lay along one axis, loudness, and eight axes held all of it, so that removing
two of three codebooks did not change the output. Waveform losses reach the encoder only through a
decoder that has not learned to use the queries yet; this loss reaches it directly.

Shapes: B batch, S samples, T frames, Q queries, D width, M bands, w frames per query.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..batch_normalizer import BatchNormalizer
from .base import ForwardPass, LossSetup, TrainingLoss
from .spectrum import mel_magnitude

# Magnitudes below this are silence.
_FLOOR = 1e-3


class QuerySpectrum(TrainingLoss):
    """Mean squared error of the predicted log-mel spectrum of each half of a window.

    Args:
        dim: width D of the queries.
        sample_rate: in Hz.
        hop_length: samples per frame.
        num_bands: mel bands M.
    """

    def __init__(self, dim: int, *, sample_rate: int, hop_length: int, num_bands: int = 48):
        super().__init__()
        self.sample_rate = sample_rate
        self.hop_length = hop_length
        self.num_bands = num_bands
        # Gives all bands the same weight, whatever their level and range.
        self.norm = BatchNormalizer(2 * num_bands)
        self.say = nn.Linear(dim, 2 * num_bands)

    @classmethod
    def from_setup(cls, setup: LossSetup) -> QuerySpectrum:
        """Build the loss for the codec's queries, sample rate and hop."""
        model = setup.model
        return cls(model.hidden_size, sample_rate=model.sample_rate, hop_length=model.hop_length)

    def compute(self, forward: ForwardPass) -> Tensor | None:
        """Return the loss of the decoder's input."""
        if forward.queries is None:
            return None
        return self(forward.queries, forward.target, forward.frames_per_query)

    def forward(self, queries: Tensor, wav: Tensor, frames_per_query: int) -> Tensor:
        """Return the scalar loss of queries `[B, Q, D]` of the whole windows of `[B, 1, S]`."""
        target = self.norm(self.spectrum(wav, frames_per_query))
        return F.mse_loss(self.say(queries.float()), target)

    @torch.no_grad()
    def spectrum(self, wav: Tensor, frames_per_query: int) -> Tensor:
        """Return log magnitudes `[B, Q, 2 M]` of the first and the second half of each window."""
        mel = mel_magnitude(
            wav,
            sample_rate=self.sample_rate,
            n_fft=4 * self.hop_length,
            hop_length=self.hop_length,
            n_mels=self.num_bands,
        )
        frames = mel[:, : wav.shape[-1] // self.hop_length].clamp_min(_FLOOR).log()  # [B, T, M]
        windows = frames.unflatten(1, (-1, frames_per_query))  # [B, Q, w, M]
        half = (frames_per_query + 1) // 2  # the middle of an odd window belongs to both
        first, second = windows[:, :, :half].mean(dim=2), windows[:, :, -half:].mean(dim=2)
        return torch.cat([first, second], dim=-1)
