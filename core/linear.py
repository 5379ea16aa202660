"""Linear maps that run at the machine's own speed when nothing is being trained.

PyTorch sends float32 `F.linear` to MKL, which reaches less than half of what oneDNN reaches on
AVX-512 processors that are not Intel's (about 170 against 420 GFLOP/s where this was written).
While gradients are off, a CPU weight is therefore packed once for oneDNN and reused until it
changes. The same holds for bfloat16, where the processor knows it: a single row (a step of a
language model) then takes a third of the time of `F.linear`. Everywhere else (training, GPU,
`torch.compile`) this is plain `F.linear`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import lru_cache
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.weak import WeakTensorKeyDictionary

from .derived import state_of
from .runtime import native_bfloat16

Activation = Literal["none", "gelu"]

_packing = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")
# weight -> (its state, packed weight); entries die with their weight.
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
        weight: `[O, I]`; its packed form is cached while gradients are off, so pass the same
            tensor object in every call.
        bias: `[O]` or None.
        activation: applied inside the same kernel where packing is possible.

    Returns:
        `[..., O]`.
    """
    if can_pack(x, weight):
        return packed_linear(x, _pack_once(weight), bias, activation)
    y = F.linear(x, weight, bias)
    return F.gelu(y) if activation == "gelu" else y


def can_pack(x: Tensor, weight: Tensor) -> bool:
    """Whether :func:`packed_linear` serves this input and weight."""
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
    """Whether oneDNN computes packed maps of this precision on this processor."""
    if dtype == torch.bfloat16 and not native_bfloat16("cpu"):
        return False
    ones = torch.ones(2, 2, dtype=dtype)
    try:
        return torch.equal(packed_linear(ones, pack(ones), None), 2 * ones)
    except RuntimeError:  # built without it for this kind of processor
        return False


def pack(weight: Tensor) -> Tensor:
    """Return a weight `[O, I]` in the order that oneDNN wants it."""
    return torch.ops.mkldnn._reorder_linear_weight(weight.detach().contiguous())


def packed_linear(
    x: Tensor, packed: Tensor, bias: Tensor | None, activation: Activation = "none"
) -> Tensor:
    """Return `activation(x @ weight.T + bias)` for a packed weight."""
    algorithm = "none" if activation == "gelu" else ""
    return torch.ops.mkldnn._linear_pointwise(x, packed, bias, activation, [], algorithm)


def _pack_once(weight: Tensor) -> Tensor:
    known, state = _packed.get(weight), state_of((weight,))
    if known is not None and known[0] == state:
        return known[1]
    packed = pack(weight)
    _packed[weight] = (state, packed)
    return packed


class Linear(nn.Linear):
    """`nn.Linear` through :func:`linear`."""

    def forward(self, x: Tensor, activation: Activation = "none") -> Tensor:
        """Map `[..., I]` to `[..., O]`."""
        return linear(x, self.weight, self.bias, activation)
