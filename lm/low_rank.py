"""Low-rank changes of a module's matrices: LoRA where peft's layers do not fit.

Audio tables and heads are read as whole matrices (a row of a table, all steps of a depth at once),
not called as layers, so the change is a parametrization of `weight`: `W + scale * B A`, with `B`
zero at first (Hu et al., "LoRA", ICLR 2022).
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.utils import parametrize

from ..core.derived import Derived


class LowRank(nn.Module):
    """Adds `scale * B A` to a matrix `[O, I]`."""

    def __init__(self, weight: Tensor, rank: int, scale: float):
        super().__init__()
        rows, columns = weight.shape
        self.scale = scale
        self._changed = Derived[Tensor]()
        self.low_rank_A = nn.Parameter(weight.new_empty(rank, columns).normal_(std=columns**-0.5))
        self.low_rank_B = nn.Parameter(weight.new_zeros(rows, rank))

    def forward(self, weight: Tensor) -> Tensor:
        """The changed matrix `[O, I]`."""
        # Made once while nothing is trained: a step of generation reads every matrix.
        return self._changed.get(
            (weight, self.low_rank_A, self.low_rank_B),
            lambda: weight + self.scale * (self.low_rank_B @ self.low_rank_A),
        )


def add_low_rank(module: nn.Module, rank: int, scale: float) -> None:
    """Give every matrix of linear layers and tables a change that is nothing yet."""
    for layer in _layers(module):
        weight = layer.weight
        assert isinstance(weight, Tensor)
        parametrize.register_parametrization(layer, "weight", LowRank(weight, rank, scale))


def merge_low_rank(module: nn.Module) -> None:
    """Make the changes part of the matrices; nothing happens where there are none."""
    for layer in _layers(module):
        if parametrize.is_parametrized(layer, "weight"):
            parametrize.remove_parametrizations(layer, "weight", leave_parametrized=True)


def low_rank_parameters(module: nn.Module) -> dict[str, nn.Parameter]:
    """What can be trained of the changes, by the name of the matrix."""
    return {
        name.replace(".parametrizations.weight.0.", "."): parameter
        for name, parameter in module.named_parameters()
        if ".low_rank_" in name
    }


def _layers(module: nn.Module) -> list[nn.Module]:
    return [one for one in module.modules() if isinstance(one, nn.Linear | nn.Embedding)]
