"""What Patchify and UnPatchify have in common: they stream."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn


class StreamingModule(nn.Module):
    """A module whose offline call is one step from the start of the signal."""

    def step(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        """Map the next part of a signal; state None is its start."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """Map a whole signal."""
        return self.step(x, None)[0]
