"""Commitment loss: keeps queries near their codes (`commitment` in configs and logs)."""

from __future__ import annotations

from torch import Tensor

from .base import ForwardPass, TrainingLoss


class CommitmentLoss(TrainingLoss):
    """The `commitment_loss` of the quantizer, which weights its layers."""

    def compute(self, forward: ForwardPass) -> Tensor | None:
        """Return the loss; None before the run quantises."""
        return forward.commitment
