"""Commitment loss: the encoder stays near its codes (`commitment` in configs and logs)."""

from __future__ import annotations

from torch import Tensor

from .base import ForwardPass, TrainingLoss


class CommitmentLoss(TrainingLoss):
    """The quantizer's own `commitment_loss`, weighted per layer there."""

    def compute(self, forward: ForwardPass) -> Tensor | None:
        """Return it; None before the run quantises."""
        return forward.commitment
