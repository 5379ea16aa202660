"""Dynamic loss scaling of fp16."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import nn

from .optimizer import gradients


class LossScale:
    """Dynamic loss scaling (Micikevicius et al. 2018): halved at an overflow, doubled later.

    A step with overflow is skipped; it counts as a skipped step only at a scale of 1.
    """

    def __init__(self, value: float = 2.0**14, patience: int = 1000) -> None:
        """Initialise the scale.

        Args:
            value: Initial scale.
            patience: Steps without overflow before the scale is doubled.
        """
        self.value, self.patience = value, patience
        self._good_steps = 0

    def undo(self, parameters: Iterable[nn.Parameter]) -> None:
        """Divide gradients by the scale."""
        scaled = gradients(parameters)
        if scaled:
            torch._foreach_mul_(scaled, 1 / self.value)

    def overflowed(self, norm: float) -> bool:
        """Whether the norm shows an overflow that a smaller scale may avoid."""
        return not math.isfinite(norm) and self.value > 1

    def update(self, norm: float) -> None:
        """Set the scale of the next step.

        Args:
            norm: Norm of this step's gradient.
        """
        if not math.isfinite(norm):
            self.value, self._good_steps = max(1.0, self.value / 2), 0
            return
        self._good_steps += 1
        if self._good_steps >= self.patience:
            self.value, self._good_steps = self.value * 2, 0

    def state_dict(self) -> dict[str, float]:
        """Return the state as JSON values."""
        return {"value": self.value, "good_steps": self._good_steps}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what :meth:`state_dict` returned."""
        self.value, self._good_steps = float(state["value"]), int(state["good_steps"])
