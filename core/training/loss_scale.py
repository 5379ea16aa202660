"""The factor of the loss in fp16, whose gradients would otherwise be too small for 16 bits."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import nn

from .optimizer import gradients


class LossScale:
    """Dynamic loss scaling (Micikevicius et al. 2018): halved at an overflow, raised after a while.

    A step whose gradient overflowed is left out, and says nothing against the data while there is
    still a factor to give up.
    """

    def __init__(self, value: float = 2.0**14, patience: int = 1000) -> None:
        """Begin.

        Args:
            value: the first factor.
            patience: steps without overflow before the factor is doubled.
        """
        self.value, self.patience = value, patience
        self._good_steps = 0

    def undo(self, parameters: Iterable[nn.Parameter]) -> None:
        """Divide gradients by the factor."""
        found = gradients(parameters)
        if found:
            torch._foreach_mul_(found, 1 / self.value)

    def overflowed(self, norm: float) -> bool:
        """Whether a gradient of this norm was too large for fp16, and a smaller factor helps."""
        return not math.isfinite(norm) and self.value > 1

    def update(self, norm: float) -> None:
        """Choose the factor of the next step.

        Args:
            norm: of this step's gradient.
        """
        if not math.isfinite(norm):
            self.value, self._good_steps = max(1.0, self.value / 2), 0
            return
        self._good_steps += 1
        if self._good_steps >= self.patience:
            self.value, self._good_steps = self.value * 2, 0

    def state_dict(self) -> dict[str, float]:
        """All that changes, for JSON."""
        return {"value": self.value, "good_steps": self._good_steps}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what :meth:`state_dict` returned."""
        self.value, self._good_steps = float(state["value"]), int(state["good_steps"])
