"""Maps of one input, computed as one: queries, keys and values; gate and up; ways into the depth.

A map of one row costs as much for being called as for reading a small matrix. transformers calls
them one after the other with the same input, so the first to be asked computes all, and the others
hand out their part.

Letters: `I` inputs, `O` outputs of all maps together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn

from ..core.derived import Derived
from ..core.linear import Linear, can_pack, pack, packed_linear
from .depth import DepthHeads

# Names of maps in the modules of transformers, in the order in which they are called.
_TOGETHER = (("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj"))


class LinearGroup:
    """What maps have in common: their last input, and the parts of its result."""

    def __init__(self, sizes: Sequence[int]):
        self._sizes = list(sizes)
        self._last: tuple[Tensor | None, Sequence[Tensor]] = (None, ())

    def part(self, number: int, x: Tensor, compute: Callable[[Tensor], Tensor]) -> Tensor:
        """The part of map `number` of `compute(x)`, `[..., O]`."""
        last, parts = self._last  # one object: another thread may be here with an input of its own
        if last is not x:
            parts = compute(x).split(self._sizes, dim=-1)
            self._last = (x, parts)
        if number == len(self._sizes) - 1:
            self._last = (None, ())  # nothing is kept between steps
        return parts[number]


class FusedLinear(Linear):
    """A linear map that is one of several; its weight stays its own."""

    # Set by `fuse_linears`: the linear maps, this one's index, their group and the fused weights.
    together: tuple[tuple[nn.Linear, ...], int, LinearGroup, Derived[tuple[Tensor, Tensor | None]]]

    def forward(self, x: Tensor, activation: str = "none") -> Tensor:  # type: ignore[override]
        """Map `[..., I]` to this map's outputs."""
        maps, number, joint, kept = self.together
        if activation != "none" or not can_pack(x, self.weight):
            return super().forward(x, activation)  # type: ignore[arg-type]

        def compute(x: Tensor) -> Tensor:
            sources = tuple(tensor for one in maps for tensor in one.parameters())
            packed, bias = kept.get(sources, lambda: _join(maps))
            return packed_linear(x, packed, bias)

        return joint.part(number, x, compute)


def linear_groups(model: nn.Module) -> Iterator[tuple[nn.Module, tuple[str, ...]]]:
    """Modules of a model, and the names of maps in them that can be computed as one."""
    for module, names in _candidates(model):
        maps = [module._modules.get(name) for name in names]
        # Exactly these: what wraps a map, as LoRA does, adds to its result.
        if not all(type(one) in (nn.Linear, Linear) for one in maps):
            continue
        biased = {one.bias is None for one in maps}  # type: ignore[union-attr]
        inputs = {one.in_features for one in maps}  # type: ignore[union-attr]
        if len(biased) == len(inputs) == 1:
            yield module, names


def _candidates(model: nn.Module) -> Iterator[tuple[nn.Module, tuple[str, ...]]]:
    for module in model.modules():
        if isinstance(module, DepthHeads):  # all its steps look at the backbone's state
            steps = module.project.steps
            yield steps, tuple(steps._modules)
        for names in _TOGETHER:
            yield module, names


def fuse_linears(model: nn.Module) -> list[nn.Linear]:
    """Let maps be computed as one until :func:`unfuse_linears`; returns those that are changed."""
    changed = []
    for module, names in list(linear_groups(model)):
        maps: tuple[nn.Linear, ...] = tuple(getattr(module, name) for name in names)
        joint = LinearGroup([one.out_features for one in maps])
        # Stays with the weights, for the next time.
        kept = maps[0].__dict__.setdefault("_joined", Derived())
        for number, one in enumerate(maps):
            one.__dict__["together"] = (maps, number, joint, kept)
            one.__class__ = FusedLinear
            changed.append(one)
    return changed


def unfuse_linears(maps: Sequence[nn.Linear]) -> None:
    """Undo what :func:`fuse_linears` did to these maps; the caller gives them their class back."""
    for one in maps:
        del one.__dict__["together"]


def _join(maps: Sequence[nn.Linear]) -> tuple[Tensor, Tensor | None]:
    """The packed weight of all maps, and their bias `[O]` if they have one."""
    weight = pack(torch.cat([one.weight.detach() for one in maps]))
    if maps[0].bias is None:
        return weight, None
    return weight, torch.cat([one.bias.detach() for one in maps])
