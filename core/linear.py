"""Linear layers with weights that are packed for oneDNN, for inference on CPUs.

PyTorch uses MKL for `F.linear` in float32, which on AVX-512 processors of other vendors than Intel
has less than half of the speed of oneDNN (about 170 against 420 GFLOP/s on the development
machine). Without gradients, a CPU weight is therefore packed once for oneDNN and cached until it
changes. The same holds for bfloat16 on processors that support it: a single row (a step of a
language model) takes a third of the time of `F.linear`. Otherwise (training, GPU, `torch.compile`)
this is `F.linear`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import lru_cache
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.graph import increment_version
from torch.nn.modules.module import register_module_module_registration_hook
from torch.utils.weak import WeakTensorKeyDictionary

from .derived import state_of
from .runtime import native_bfloat16

Activation = Literal["none", "gelu"]

_packing = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")
# weight -> (its state, packed weight)
_packed = WeakTensorKeyDictionary()


@contextlib.contextmanager
def unpacked() -> Iterator[None]:
    """Use plain `F.linear` inside the block (FLOP counting, export, comparison in tests)."""
    global _packing
    before, _packing = _packing, False
    try:
        yield
    finally:
        _packing = before


def linear(
    x: Tensor, weight: Tensor, bias: Tensor | None, activation: Activation = "none"
) -> Tensor:
    """Return `activation(x @ weight.T + bias)`.

    Args:
        x: `[..., I]`.
        weight: `[O, I]`; its packed form is cached per tensor object, without gradients.
        bias: `[O]` or None.
        activation: fused with the product if the weight is packed.

    Returns:
        `[..., O]`.
    """
    if can_pack(x, weight):
        return packed_linear(x, _pack_once(weight), bias, activation)
    y = F.linear(x, weight, bias)
    return F.gelu(y) if activation == "gelu" else y


def can_pack(x: Tensor, weight: Tensor) -> bool:
    """Whether :func:`packed_linear` supports this input and weight."""
    return (
        _packing
        and not torch.compiler.is_compiling()
        and not torch.is_grad_enabled()
        and x.device.type == "cpu"
        and x.dtype == weight.dtype
        and x.dtype in (torch.float32, torch.bfloat16)
        and _packs(x.dtype)
        and not weight.is_inference()
        and x.numel() > 0
        and not torch.is_autocast_enabled("cpu")
    )


@lru_cache(maxsize=2)
def _packs(dtype: torch.dtype) -> bool:
    """Whether oneDNN supports packed weights of this precision on this processor."""
    if dtype == torch.bfloat16 and not native_bfloat16("cpu"):
        return False
    ones = torch.ones(2, 2, dtype=dtype)
    try:
        return torch.equal(packed_linear(ones, pack(ones), None), 2 * ones)
    except RuntimeError:  # not supported by this build
        return False


def pack(weight: Tensor) -> Tensor:
    """Return a weight `[O, I]` in the layout of oneDNN."""
    return torch.ops.mkldnn._reorder_linear_weight(weight.detach().contiguous())


def packed_linear(
    x: Tensor, packed: Tensor, bias: Tensor | None, activation: Activation = "none"
) -> Tensor:
    """Return `activation(x @ weight.T + bias)` for a packed weight."""
    algorithm = "none" if activation == "gelu" else ""
    return torch.ops.mkldnn._linear_pointwise(x, packed, bias, activation, [], algorithm)


def _pack_once(weight: Tensor) -> Tensor:
    cached, state = _packed.get(weight), state_of((weight,))
    if cached is not None and cached[0] == state:
        return cached[1]
    packed = pack(weight)
    _packed[weight] = (state, packed)
    return packed


class Linear(nn.Linear):
    """`nn.Linear` through :func:`linear`."""

    # Whether it is the base layer of a wrapper of peft, which merges by writing through
    # `weight.data`: no counter sees that, so its weight is not packed.
    wrapped = False

    def forward(self, x: Tensor, activation: Activation = "none") -> Tensor:
        """Map `[..., I]` to `[..., O]`."""
        if self.wrapped:
            return F.linear(x, self.weight, self.bias)
        return linear(x, self.weight, self.bias, activation)


def _note_wrapper(parent: nn.Module, name: str, child: nn.Module | None) -> None:
    """Called when a module becomes the child of another: values derived before are outdated."""
    if isinstance(child, Linear):
        child.wrapped = name == "base_layer"
        for weight in child.parameters(recurse=False):
            if not weight.is_inference():
                increment_version(weight)


register_module_module_registration_hook(_note_wrapper)


def linear_gelu(layer: nn.Module, x: Tensor) -> Tensor:
    """Return `gelu(layer(x))`, in one kernel where the layer is a :class:`Linear`.

    A layer that is wrapped, e.g. by LoRA, adds to the linear map: its activation comes afterwards.
    """
    return layer(x, activation="gelu") if type(layer) is Linear else F.gelu(layer(x))
