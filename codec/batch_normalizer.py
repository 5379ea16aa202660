"""Normalisation over the batch: of frames, and of queries to keep codebooks in reach of them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..core.distributed import all_sum_with_gradient


class BatchNormalizer(nn.Module):
    """Zero mean and unit variance per channel: of the batch in training, running ones after it.

    A query encoder's output drifts as a whole while it learns, most of all its mean, faster than
    codebooks can follow, and a frozen one not at all. The batch is that of all processes together.
    With `follow` off the statistics are constants, put there once (frames, see start_patches.py):
    a batch's own would take its loudness away.
    """

    mean: Tensor
    variance: Tensor
    updates: Tensor

    def __init__(
        self, width: int, decay: float = 0.98, epsilon: float = 1e-5, *, follow: bool = True
    ):
        super().__init__()
        self.decay = decay
        self.epsilon = epsilon
        self.follow = follow
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("variance", torch.ones(width))
        self.register_buffer("updates", torch.tensor(0))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise `[B, T, D]` to float32."""
        x = x.float()
        mean, variance = self._of_batch(x) if self.training and self.follow else self._stored()
        return (x - mean) * (variance + self.epsilon).rsqrt()

    def _stored(self) -> tuple[Tensor, Tensor]:
        return self.mean, self.variance

    def _of_batch(self, x: Tensor) -> tuple[Tensor, Tensor]:
        flat = x.flatten(0, -2)  # [N, D]
        count = flat.new_full((1,), float(len(flat)))
        sums = all_sum_with_gradient(torch.cat([count, flat.sum(dim=0), flat.square().sum(dim=0)]))
        mean, square = (sums[1:] / sums[0]).chunk(2)
        variance = (square - mean.square()).clamp_min(0)
        with torch.no_grad():
            # The first batches count fully, so that the start does not matter.
            weight = max(1 - self.decay, 1 / (1 + int(self.updates)))
            self.mean.lerp_(mean, weight)
            self.variance.lerp_(variance, weight)
            self.updates += 1
        return mean, variance
