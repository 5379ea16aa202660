"""Linear layers of a model that have the same input and can be computed as one matrix product.

These are queries, keys and values, the gate and up projections, and the input projections of the
depth Transformer. For a single row a call costs about as much as reading a small matrix. The layers
stay separate modules: the first one to be called computes all outputs, the others return their
part.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from torch import Tensor, nn

from ..core.linear import Linear
from .depth import DepthHeads

# Names of such layers in the modules of transformers, in the order of their calls.
_SAME_INPUT = (("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj"))


class LinearGroup:
    """The last input of a group of layers, and their parts of its result."""

    def __init__(self, sizes: Sequence[int]):
        self._sizes = list(sizes)
        self._last: tuple[Tensor | None, Sequence[Tensor]] = (None, ())

    def part(self, index: int, x: Tensor, compute: Callable[[Tensor], Tensor]) -> Tensor:
        """Return the outputs of layer `index` in `compute(x)`."""
        last, parts = self._last  # read once: another thread may replace it
        if last is not x:
            parts = compute(x).split(self._sizes, dim=-1)
            self._last = (x, parts)
        if index == len(self._sizes) - 1:
            self._last = (None, ())  # no activations are kept between steps
        return parts[index]


def linear_groups(model: nn.Module) -> Iterator[tuple[nn.Module, tuple[str, ...]]]:
    """Yield modules of a model, and the names of layers in them that form a group."""
    for module, names in _candidates(model):
        layers = [module._modules.get(name) for name in names]
        # Exact types: a layer that is wrapped, e.g. by LoRA, computes something else.
        if not all(type(layer) in (nn.Linear, Linear) for layer in layers):
            continue
        biased = {layer.bias is None for layer in layers}  # type: ignore[union-attr]
        inputs = {layer.in_features for layer in layers}  # type: ignore[union-attr]
        if len(biased) == len(inputs) == 1:
            yield module, names


def _candidates(model: nn.Module) -> Iterator[tuple[nn.Module, tuple[str, ...]]]:
    for module in model.modules():
        if isinstance(module, DepthHeads):  # the state of the backbone is the input of all steps
            steps = module.project.steps
            yield steps, tuple(steps._modules)
        for names in _SAME_INPUT:
            yield module, names
