"""A model while nothing is trained: no gradients, and faster parts that compute the same.

A step of generation reads every weight once, and between the maps it does little with many small
operations. So the backbone's maps and norms, which are transformers' own, are exchanged for the
time being: their weights stay where they are.

Letters: `D` width.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..core.derived import Derived
from ..core.linear import Linear
from .fused_linear import fuse_linears, unfuse_linears

if TYPE_CHECKING:
    from .model import AudioLM

# Norms that compute `weight * x / rms(x)`, by the name of their class; some have `weight + 1`.
_NORMS = {"LlamaRMSNorm", "MistralRMSNorm", "Qwen2RMSNorm", "Qwen3RMSNorm", "SmolLM3RMSNorm"}

# Models whose parts are exchanged: how many are at work with it, and what undoes it.
_at_work: dict[AudioLM, tuple[int, Callable[[], None]]] = {}
_lock = threading.Lock()


class RowNorm(nn.Module):
    """RMSNorm by one or two kernels where transformers has eight."""

    weight: Tensor  # [D]

    def forward(self, x: Tensor) -> Tensor:
        """Normalise `[..., D]`."""
        width = x.shape[-1]
        eps: Any = self.variance_epsilon if hasattr(self, "variance_epsilon") else self.eps
        one_row = x.numel() == width and x.device.type == "cpu" and eps is not None
        if not one_row or torch.is_grad_enabled() or torch.compiler.is_compiling():
            return F.rms_norm(x, (width,), self.weight, eps)
        # (x, -x) has mean 0, and its variance is the mean square of x: LayerNorm, which is one
        # kernel on a CPU, is RMSNorm of it.
        kept = self.__dict__.setdefault("_twice", Derived())
        twice = kept.get((self.weight,), lambda: self.weight.detach().repeat(2))
        return F.layer_norm(torch.cat((x, -x), dim=-1), (2 * width,), twice, None, eps)[..., :width]


@contextmanager
def evaluating(lm: AudioLM) -> Iterator[None]:
    """No gradients, no dropout; afterwards everything is as before."""
    restore = evaluation(lm)
    try:
        with torch.no_grad():
            yield
    finally:
        restore()


def evaluation(lm: AudioLM) -> Callable[[], None]:
    """Switch to evaluation mode and to the faster parts; returns what switches back.

    Several may be at work with one model, as streams are: the last one switches back.
    """
    with _lock:
        users, undo = _at_work.get(lm) or (0, _exchange(lm))
        _at_work[lm] = (users + 1, undo)

    def restore() -> None:
        with _lock:
            users, undo = _at_work.pop(lm)
            if users > 1:
                _at_work[lm] = (users - 1, undo)
            else:
                undo()

    return restore


def _exchange(lm: AudioLM) -> Callable[[], None]:
    training = [module for module in lm.modules() if module.training]
    kinds = [(module, type(module)) for module in lm.modules()]
    joined = fuse_linears(lm)
    for module in lm.modules():
        module.__class__ = _faster(type(module))
    lm.eval()

    def undo() -> None:
        unfuse_linears(joined)
        for module, kind in kinds:
            module.__class__ = kind
        for module in training:
            module.training = True

    return undo


def _faster(kind: type[nn.Module]) -> type[nn.Module]:
    if kind is nn.Linear:
        # Packed as ours are (core/linear.py): three times as fast in bfloat16 on a CPU.
        return Linear
    theirs = kind.__module__.startswith("transformers.") and kind.__name__ in _NORMS
    return RowNorm if theirs or kind is nn.RMSNorm else kind
