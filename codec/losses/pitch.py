"""Pitch loss (`pitch` in configs and logs): cross-entropy of the predicted pitch (ours, D).

Shapes: `B` batch, `S` samples, `T` frames, `P` pitches.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ...core.metrics.pitch import find_periods
from ..vocoder import HIGHEST_HZ, LOWEST_HZ, SMOOTHED, pitch_index
from .base import ForwardPass, LossSetup, TrainingLoss

# Half the sample rate halves the cost of YIN, and its lags are still finer than the pitches.
_DECIMATION = 2
_WINDOW_SECONDS = 0.027
_THRESHOLD = 0.2
_SILENCE_RMS = 1e-3
# Spread of a target over the table of pitches, in cents.
_SPREAD = 25.0


@dataclass(frozen=True)
class Voicing:
    """Pitch track of a recording."""

    hz: Tensor  # [B, T]
    voiced: Tensor  # [B, T] bool: where the pitch is reliable


class PitchLoss(TrainingLoss):
    """Cross-entropy of the predicted pitch in voiced frames of the recording.

    The target of a frame is the pitch shortly after its end, so that the average over
    :data:`SMOOTHED` frames is the pitch at its end, where the glide of the frame arrives.

    Args:
        sample_rate: in Hz.
        hop_length: samples of a frame.
    """

    def __init__(self, sample_rate: int, hop_length: int):
        super().__init__()
        self.sample_rate, self.hop_length = sample_rate, hop_length

    @classmethod
    def from_setup(cls, setup: LossSetup) -> PitchLoss | None:
        """Build the loss for a codec with the harmonic-plus-noise vocoder; None for others."""
        model = setup.model
        if model.unpatchify != "harmonic":
            return None
        return cls(model.sample_rate, model.hop_length)

    def compute(self, forward: ForwardPass) -> Tensor | None:
        """Return the loss of the vocoder's pitch."""
        if forward.pitch is None:
            return None
        with torch.autocast(forward.pitch.device.type, enabled=False):
            return self(forward.pitch, forward.target)

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Compare `[B, T, P]` with the waveforms `[B, 1, S]`; zero without voiced frames."""
        if logits.shape[1] * self.hop_length != target.shape[-1]:
            raise ValueError(
                f"target must have {logits.shape[1]} frames of {self.hop_length} samples,"
                f" got {target.shape[-1]} samples"
            )
        return self.compare(logits, self.track(target))

    def compare(self, logits: Tensor, voicing: Voicing) -> Tensor:
        """Compare logits `[B, T, P]` with a pitch track `[B, T]`."""
        count = logits.shape[-1]
        octaves = torch.log2(torch.tensor(HIGHEST_HZ / LOWEST_HZ, device=logits.device))
        cents = 1200 * octaves / (count - 1)
        indices = torch.arange(count, device=logits.device)
        distance = (indices - pitch_index(voicing.hz, count)[..., None]) * cents  # [B, T, P]
        target = torch.softmax(-0.5 * (distance / _SPREAD).square(), dim=-1)
        entropy = -(target * F.log_softmax(logits.float(), dim=-1)).sum(dim=-1)  # [B, T]
        return (entropy * voicing.voiced).mean()

    @torch.no_grad()
    def track(self, wav: Tensor) -> Voicing:
        """Track the pitch of `[B, 1, S]` at the target position of each frame (YIN)."""
        rate = self.sample_rate // _DECIMATION
        hop = self.hop_length // _DECIMATION
        shortest, longest = int(rate / HIGHEST_HZ), int(rate / LOWEST_HZ) + 1
        size = int(_WINDOW_SECONDS * rate) + longest
        low = F.avg_pool1d(wav.float(), _DECIMATION)[:, 0]  # [B, S / 2]
        ahead = hop * (1 + (SMOOTHED - 1) // 2)  # from the start of a frame to its target
        low = F.pad(low, (size // 2 - ahead, size - size // 2 + ahead))
        frames = low.unfold(1, size, hop)[:, : wav.shape[-1] // self.hop_length]  # [B, T, n]
        batch, count = frames.shape[:2]
        flat = frames.flatten(0, 1)
        flat = flat - flat.mean(dim=1, keepdim=True)
        periods = find_periods(flat, shortest, longest, _THRESHOLD)
        hz = rate / periods.samples
        voiced = (periods.depth < _THRESHOLD) & (flat.square().mean(dim=1).sqrt() > _SILENCE_RMS)
        voiced &= (hz >= LOWEST_HZ) & (hz <= HIGHEST_HZ)
        return Voicing(hz.view(batch, count), voiced.view(batch, count))
