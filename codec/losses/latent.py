"""Distance of decoder frames to Patchify's frames; `latent` in configs and logs (ours, D).

Shapes: B batch, T frames, D width.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from .base import ForwardPass, TrainingLoss


class LatentDistance(TrainingLoss):
    """Smooth L1 between decoded frames and Patchify's, relative to the deviation of the latter.

    `|d - e|_1 / mean |e - mean e|`, quadratic below one tenth, mean over `[B, T, D]`.
    """

    def forward(self, decoded: Tensor, frames: Tensor) -> Tensor:
        """Compare `[B, T, D]` with `[B, T, D]`; return a scalar without gradient of `frames`."""
        with torch.autocast(frames.device.type, enabled=False):
            frames = frames.detach()
            scale = (frames - frames.mean(dim=1, keepdim=True)).abs().mean(dim=(1, 2), keepdim=True)
            scale = scale.clamp_min(1e-5)
            return F.smooth_l1_loss(decoded / scale, frames / scale, beta=0.1)

    def compute(self, forward: ForwardPass) -> Tensor | None:
        """Return the loss of a step with decoded frames."""
        if forward.decoded is None or forward.frames is None:
            return None
        return self(forward.decoded, forward.frames)
