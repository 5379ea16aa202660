"""Evaluation mode with faster layers.

A step of generation reads every weight once and runs many small operations. Inside
:func:`evaluating` some layers of a model are therefore replaced:

- linear layers by :class:`PackedLinear`, whose weight is laid out for the processor,
- linear layers with the same input by :class:`FusedLinear`, which are computed as one:
  queries, keys and values, the gate and up projections, the inputs of the depth Transformer,
- RMSNorm layers of transformers by :class:`RowNorm`, which needs fewer kernels.

Replacements share the parameters, buffers and hooks of the original layers, and the names in the
state dict stay. What they derive from weights is made at the first call and lives as long as they
do: no derived weight outlives the outermost context, so between two contexts weights may be changed
in any way. To generate often with the same weights, enter the context once around all calls:

    with evaluating(lm):
        for batch in batches:
            lm.generate(**batch)

Inside the context an optimizer step or an in-place operation is noticed; after a write through
`weight.data` call :func:`restore_layers`. Functions that change adapters do so themselves.

Shapes: `I` inputs, `O` outputs, `D` width.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import WeakKeyDictionary

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..core.derived import Derived, drop_derived
from ..core.linear import Linear, can_pack, pack, packed_linear
from .heads import DepthHeads

if TYPE_CHECKING:
    from .model import AudioLM

# Names of such layers in the modules of transformers, in the order of their calls.
_SAME_INPUT = (("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj"))


class LinearGroup:
    """Linear layers with the same input: the last input, and their parts of its result.

    For a single row a call costs about as much as reading a small matrix. The layers stay separate
    modules: the first one to be called computes all outputs, the others return their part.
    """

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


M = TypeVar("M", bound=nn.Module)

# Norms that compute `weight * x / rms(x)`, by class name; others compute `(1 + weight) * ...`.
_NORMS = {"LlamaRMSNorm", "MistralRMSNorm", "Qwen2RMSNorm", "Qwen3RMSNorm", "SmolLM3RMSNorm"}


class PackedLinear(nn.Linear):
    """A linear layer whose weight is packed for oneDNN where that is supported."""

    derived: Derived[Any]

    def forward(self, x: Tensor) -> Tensor:
        """Map `[..., I]` to `[..., O]`."""
        if not can_pack(x, self.weight):
            return F.linear(x, self.weight, self.bias)
        packed = self.derived.get((self.weight,), lambda: pack(self.weight))
        return packed_linear(x, packed, self.bias)


class FusedLinear(PackedLinear):
    """A linear layer that is computed together with others of the same input."""

    layers: Sequence[nn.Linear]  # the original layers of the group
    index: int  # of this one
    group: LinearGroup

    def forward(self, x: Tensor) -> Tensor:
        """Map `[..., I]` to the outputs of this layer, `[..., O]`."""
        if not can_pack(x, self.weight):
            return F.linear(x, self.weight, self.bias)
        return self.group.part(self.index, x, self._compute)

    def _compute(self, x: Tensor) -> Tensor:
        sources = [layer.weight for layer in self.layers]
        if self.bias is not None:
            sources += [layer.bias for layer in self.layers]
        packed, bias = self.derived.get(sources, self._fuse)
        return packed_linear(x, packed, bias)

    def _fuse(self) -> tuple[Tensor, Tensor | None]:
        """The packed weight of all layers, and their bias `[O]` if they have one."""
        weight = pack(torch.cat([layer.weight.detach() for layer in self.layers]))
        if self.bias is None:
            return weight, None
        return weight, torch.cat([layer.bias.detach() for layer in self.layers])


class RowNorm(nn.Module):
    """RMSNorm by one or two kernels where transformers has eight."""

    weight: Tensor  # [D]
    derived: Derived[Tensor]

    def forward(self, x: Tensor) -> Tensor:
        """Normalise `[..., D]`."""
        width = x.shape[-1]
        eps: Any = self.variance_epsilon if hasattr(self, "variance_epsilon") else self.eps
        one_row = x.numel() == width and x.device.type == "cpu" and eps is not None
        if not one_row or torch.is_grad_enabled() or torch.compiler.is_compiling():
            return F.rms_norm(x, (width,), self.weight, eps)
        # (x, -x) has mean 0 and the mean square of x as variance, so that its LayerNorm, a single
        # kernel on a CPU, is the RMSNorm of x.
        twice = self.derived.get((self.weight,), lambda: self.weight.detach().repeat(2))
        return F.layer_norm(torch.cat((x, -x), dim=-1), (2 * width,), twice, None, eps)[..., :width]


@contextmanager
def evaluating(lm: AudioLM, *, compiled: bool = False) -> Iterator[None]:
    """No gradients, no dropout and faster layers; see :func:`faster_layers`."""
    with faster_layers(lm, compiled=compiled), torch.no_grad():
        yield


@contextmanager
def faster_layers(lm: AudioLM, *, compiled: bool = False) -> Iterator[None]:
    """Evaluation mode and faster layers, without a change of the gradient mode.

    Contexts of one model may be nested or overlap, also in several threads: the last one to end
    restores the layers and the training mode of all modules.

    Args:
        lm: the model.
        compiled: leave the backbone's decoder as it is, for `torch.compile`.
    """
    with _lock:
        preparation = _preparations.setdefault(lm, _Preparation(lm))
        preparation.begin(lm, compiled)
    try:
        yield
    finally:
        with _lock:
            if preparation.end():
                _preparations.pop(lm, None)


def restore_layers(lm: AudioLM) -> None:
    """Put the original layers back and drop all derived weights, e.g. because weights change.

    Contexts that are open go on with the original layers; the next one that begins inside replaces
    them anew.
    """
    drop_derived(lm)
    with _lock:
        if lm in _preparations:
            _preparations[lm].restore()


class _Preparation:
    """What the open contexts of one model have changed."""

    def __init__(self, lm: AudioLM):
        self._num_contexts = 0
        self._training = [module for module in lm.modules() if module.training]
        self._replaced: list[tuple[nn.Module, str, nn.Module, nn.Module]] = []

    def begin(self, lm: AudioLM, compiled: bool) -> None:
        self._num_contexts += 1
        if not self._replaced:
            drop_derived(lm)
            lm.eval()
            self._replaced = list(_replacements(lm, compiled))
            for parent, name, _, new in self._replaced:
                parent._modules[name] = new

    def end(self) -> bool:
        """Count down; whether this was the last context."""
        self._num_contexts -= 1
        if self._num_contexts:
            return False
        self.restore()
        for module in self._training:
            module.training = True
        return True

    def restore(self) -> None:
        for parent, name, old, new in self._replaced:
            if parent._modules.get(name) is new:  # else somebody has replaced it meanwhile
                parent._modules[name] = old
        self._replaced = []


_preparations: WeakKeyDictionary[AudioLM, _Preparation] = WeakKeyDictionary()
_lock = threading.RLock()  # garbage collection may end an abandoned stream while it is held


def _replacements(
    lm: AudioLM, compiled: bool
) -> Iterator[tuple[nn.Module, str, nn.Module, nn.Module]]:
    """Yield (parent, name, layer, its replacement)."""
    left_alone = set(lm.backbone.get_decoder().modules()) if compiled else set()
    grouped: set[nn.Module] = set()
    for parent, names in linear_groups(lm):
        if parent in left_alone:
            continue
        layers: list[Any] = [parent._modules[name] for name in names]
        group = LinearGroup([layer.out_features for layer in layers])
        derived: Derived[Any] = Derived()
        for index, (name, layer) in enumerate(zip(names, layers, strict=True)):
            grouped.add(layer)
            shared = {"layers": layers, "index": index, "group": group, "derived": derived}
            yield parent, name, layer, _replacement(FusedLinear, layer, **shared)
    for parent in lm.modules():
        for name, layer in parent.named_children():
            if layer in grouped or parent in left_alone:
                continue
            if type(layer) in (nn.Linear, Linear):
                yield parent, name, layer, _replacement(PackedLinear, layer, derived=Derived())
            elif _is_rms_norm(type(layer)):
                yield parent, name, layer, _replacement(RowNorm, layer, derived=Derived())


def _replacement(kind: type[M], layer: nn.Module, **attributes: Any) -> M:
    """A module of another class with the very parameters, buffers and hooks of a layer."""
    new = kind.__new__(kind)
    new.__dict__.update(layer.__dict__)
    new.__dict__.update(attributes)
    return new


def _is_rms_norm(kind: type[nn.Module]) -> bool:
    of_transformers = kind.__module__.startswith("transformers.") and kind.__name__ in _NORMS
    return of_transformers or kind is nn.RMSNorm
