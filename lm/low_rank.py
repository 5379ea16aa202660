"""Low-rank updates of the weights of embeddings and heads (Hu et al., "LoRA", ICLR 2022).

An update is a parametrization of `weight`, `W + scale * B A` with `B` initialised to zero, rather
than a layer of peft: some of these weights are read directly, not by calling their module.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.utils import parametrize

from ..core.derived import Derived


class LowRank(nn.Module):
    """Parametrization that adds `scale * B A` to a weight `[O, I]`."""

    def __init__(self, weight: Tensor, rank: int, scale: float):
        super().__init__()
        rows, columns = weight.shape
        self.scale = scale
        self._updated = Derived[Tensor]()
        self.low_rank_A = nn.Parameter(weight.new_empty(rank, columns).normal_(std=columns**-0.5))
        self.low_rank_B = nn.Parameter(weight.new_zeros(rows, rank))

    def forward(self, weight: Tensor) -> Tensor:
        """Return the updated weight `[O, I]`; computed once while gradients are off."""
        return self._updated.get(
            (weight, self.low_rank_A, self.low_rank_B),
            lambda: weight + self.scale * (self.low_rank_B @ self.low_rank_A),
        )


def add_low_rank(module: nn.Module, rank: int, scale: float) -> None:
    """Add an update, zero at first, to the weight of every linear layer and embedding."""
    for layer in _layers(module):
        weight = layer.weight
        assert isinstance(weight, Tensor)
        parametrize.register_parametrization(layer, "weight", LowRank(weight, rank, scale))


def merge_low_rank(module: nn.Module) -> None:
    """Merge the updates into the weights, where there are any."""
    for layer in _layers(module):
        if parametrize.is_parametrized(layer, "weight"):
            parametrize.remove_parametrizations(layer, "weight", leave_parametrized=True)


def low_rank_parameters(module: nn.Module) -> dict[str, nn.Parameter]:
    """Parameters of the updates, by the name of the layer."""
    return {
        name.replace(".parametrizations.weight.0.", "."): parameter
        for name, parameter in module.named_parameters()
        if ".low_rank_" in name
    }


def _layers(module: nn.Module) -> list[nn.Module]:
    return [layer for layer in module.modules() if isinstance(layer, nn.Linear | nn.Embedding)]
