"""Batch normalisation of frames and queries."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..core.distributed import all_sum_with_gradient


class BatchNormalizer(nn.Module):
    """Normalises each channel to zero mean and unit variance.

    Training uses the statistics of the batch, over all processes; evaluation uses running averages.
    The output of the query encoder drifts during training, most of all its mean, faster than a
    learned codebook can follow; a frozen codebook cannot follow at all.

    Args:
        width: Number of channels D.
        decay: Of the running averages.
        epsilon: Added to the variance.
        frozen: Always use the stored statistics and never update them. For frames, whose statistics
            are set once (initialization.py): those of a batch would remove its loudness.
    """

    mean: Tensor
    variance: Tensor
    updates: Tensor

    def __init__(
        self, width: int, decay: float = 0.98, epsilon: float = 1e-5, *, frozen: bool = False
    ):
        super().__init__()
        self.decay = decay
        self.epsilon = epsilon
        self.frozen = frozen
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("variance", torch.ones(width))
        self.register_buffer("updates", torch.tensor(0))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise `[B, T, D]` to float32."""
        x = x.float()
        mean, variance = self.mean, self.variance
        if self.training and not self.frozen:
            mean, variance = self._batch_statistics(x)
        return (x - mean) * (variance + self.epsilon).rsqrt()

    def _batch_statistics(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance `[D]` of the batch, which also update the running averages."""
        flat = x.flatten(0, -2)  # [N, D]
        count = flat.new_full((1,), float(len(flat)))
        sums = all_sum_with_gradient(torch.cat([count, flat.sum(dim=0), flat.square().sum(dim=0)]))
        mean, square = (sums[1:] / sums[0]).chunk(2)
        variance = (square - mean.square()).clamp_min(0)
        with torch.no_grad():
            # The first batches are averaged equally, so that the initial values have no influence.
            weight = max(1 - self.decay, 1 / (1 + int(self.updates)))
            self.mean.lerp_(mean, weight)
            self.variance.lerp_(variance, weight)
            self.updates += 1
        return mean, variance
