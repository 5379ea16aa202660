"""Exponential moving average of weights."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class WeightAverage:
    """Exponential moving average of the trained parameters.

    ``average <- average + (1 - d) (weight - average)`` with ``d = min(decay, (1 + n) / (10 + n))``
    after ``n`` steps, so that the initial weights lose their influence early in a run.

    Args:
        module: Module whose parameters with ``requires_grad`` are averaged.
        decay: Upper limit of the decay, below 1.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        if not 0 < decay < 1:
            raise ValueError(f"EMA decay must be between 0 and 1, got {decay}")
        self.decay = decay
        self._weights = {n: p for n, p in module.named_parameters() if p.requires_grad}
        self.average = {n: p.detach().clone() for n, p in self._weights.items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Move the average towards the weights after optimiser step ``step`` (0-based)."""
        decay = min(self.decay, (1 + step) / (10 + step))
        weights = [weight.detach() for weight in self._weights.values()]
        torch._foreach_lerp_(list(self.average.values()), weights, 1 - decay)

    @torch.no_grad()
    def restart(self) -> None:
        """Set the average to the current weights, after these were replaced."""
        for name, weight in self._weights.items():
            self.average[name].copy_(weight)

    def state_dict(self) -> dict[str, Tensor]:
        """Return the averages by parameter name."""
        return dict(self.average)

    def load_state_dict(self, values: Mapping[str, Tensor]) -> None:
        """Restore averages; ``ValueError`` if names differ."""
        if values.keys() != self.average.keys():
            different = sorted(values.keys() ^ self.average.keys())
            raise ValueError(f"names of averaged weights differ: {', '.join(different[:5])}")
        for name, value in values.items():
            self.average[name].copy_(value)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Context in which the module has the averaged weights."""
        with torch.no_grad():
            trained = {name: weight.detach().clone() for name, weight in self._weights.items()}
            for name, weight in self._weights.items():
                weight.copy_(self.average[name])
        try:
            yield
        finally:
            with torch.no_grad():
                for name, weight in self._weights.items():
                    weight.copy_(trained[name])
