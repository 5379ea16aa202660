"""Muon (Jordan et al. 2024): momentum whose singular values are brought near one.

The update of a matrix is `U V^T` of its momentum `U S V^T`, nearly, so that all its directions
learn at one rate. Newton-Schulz iterations find it by matrix products alone. `torch.optim.Muon`
does the same one matrix at a time and always in bfloat16; here all matrices of one shape are
orthogonalised together, in bfloat16 only where the device has it (core/runtime.py).

Letters: `N` matrices of one shape, `R` their smaller side, `C` their larger side.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..runtime import native_bfloat16

# A polynomial `a x + b x^3 + c x^5` for each iteration: the nearest to 1 on the interval that the
# one before leaves (Polar Express, Amsel et al. 2025), beginning with 0.003 to 1. Four of them make
# 0.8 to 1.2 of that interval; five times the polynomial of Muon's authors makes 0.7 to 1.2 of it.
POLYNOMIALS = (
    (8.3837, -24.7659, 18.3571),
    (4.0434, -3.0114, 0.5695),
    (3.5056, -2.6267, 0.5257),
    (2.4901, -1.8343, 0.4368),
)
# The first polynomial is steep at 1: rounding must not carry a singular value beyond it.
_MARGIN = 1.01
_TINY = 1e-7
# Most numbers that are orthogonalised at once: bounds the copies, and is enough to fill a GPU.
_AT_ONCE = 1 << 26
# From this C / R on, iterating on the Gram matrix `[R, R]` takes fewer operations.
_WIDE = 1.5


class Muon(torch.optim.Optimizer):
    """SGD with Nesterov momentum, orthogonalised; for the matrices inside Transformer layers.

    State: ``momentum_buffer`` for each parameter, as `torch.optim.Muon` has it.

    Args:
        params: matrices `[O, I]`, or groups of them.
        lr: on the scale of AdamW: an update has the root mean square 0.2 (Moonlight, Liu et al.
            2025).
        weight_decay: decoupled, as AdamW's.
        momentum: decay of the gradient's running mean.

    Raises:
        ValueError: a parameter is no matrix.
    """

    def __init__(
        self,
        params: Iterable[Any],
        *,
        lr: float,
        weight_decay: float = 0.1,
        momentum: float = 0.95,
    ) -> None:
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.ndim != 2:
                    shape = tuple(parameter.shape)
                    raise ValueError(f"Muon trains matrices, got a parameter of shape {shape}")

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Update all parameters that have a gradient."""
        for group in self.param_groups:
            parameters = [p for p in group["params"] if p.grad is not None]
            if parameters:
                self._update(parameters, group)

    def _update(self, parameters: Sequence[nn.Parameter], group: dict[str, Any]) -> None:
        momentum, lr = group["momentum"], group["lr"]
        gradients = [p.grad for p in parameters if p.grad is not None]
        buffers = [self._buffer(p) for p in parameters]
        torch._foreach_lerp_(buffers, gradients, 1 - momentum)
        looked_ahead = torch._foreach_lerp(gradients, buffers, momentum)
        torch._foreach_mul_(list(parameters), 1 - lr * group["weight_decay"])
        for numbers in _batches(parameters):
            wide = torch.stack([_lying(looked_ahead[n]) for n in numbers])  # [N, R, C]
            made = orthogonalize(wide).to(parameters[numbers[0]].dtype).unbind()
            scale = 0.2 * math.sqrt(wide.shape[-1])
            updates = [
                one.mT if _stands(parameters[n]) else one
                for n, one in zip(numbers, made, strict=True)
            ]
            torch._foreach_add_([parameters[n] for n in numbers], updates, alpha=-lr * scale)

    def _buffer(self, parameter: nn.Parameter) -> Tensor:
        state = self.state[parameter]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(parameter)
        return state["momentum_buffer"]


def orthogonalize(matrices: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """Bring singular values of matrices, from 0.003 of the Frobenius norm on, to 0.8 to 1.2.

    Args:
        matrices: `[N, R, C]` with R <= C.
        dtype: of the products; by default bfloat16 where the device has it, else float32.

    Returns:
        `[N, R, C]` in that precision.
    """
    if dtype is None:
        dtype = torch.bfloat16 if native_bfloat16(matrices.device) else torch.float32
    norms = torch.linalg.vector_norm(matrices, dim=(1, 2), keepdim=True)
    x = (matrices / (_MARGIN * norms).clamp_min(_TINY)).to(dtype)
    # The Gram matrix squares singular values: in bfloat16 the small ones would be noise.
    if dtype == torch.float32 and x.shape[2] >= _WIDE * x.shape[1]:
        return _by_gram(x)
    for a, b, c in POLYNOMIALS:
        gram = x @ x.mT  # [N, R, R]
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x


def _by_gram(x: Tensor) -> Tensor:
    """The same iterations: each multiplies from the left by a polynomial of the Gram matrix."""
    gram, product = x @ x.mT, None  # [N, R, R]
    for iteration, (a, b, c) in enumerate(POLYNOMIALS):
        factor = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
        factor.diagonal(dim1=1, dim2=2).add_(a)
        product = factor if product is None else factor @ product
        if iteration < len(POLYNOMIALS) - 1:
            gram = factor @ gram @ factor
    assert product is not None
    return product @ x


def _batches(parameters: Sequence[nn.Parameter]) -> list[list[int]]:
    """Numbers of the parameters that have one shape, lying, on one device, at most so many."""
    by_shape: dict[tuple[Any, ...], list[int]] = {}
    for number, parameter in enumerate(parameters):
        key = (*sorted(parameter.shape), parameter.device, parameter.dtype)
        by_shape.setdefault(key, []).append(number)
    batches = []
    for numbers in by_shape.values():
        most = max(1, _AT_ONCE // parameters[numbers[0]].numel())
        batches += [numbers[first : first + most] for first in range(0, len(numbers), most)]
    return batches


def _stands(matrix: Tensor) -> bool:
    return matrix.shape[0] > matrix.shape[1]


def _lying(matrix: Tensor) -> Tensor:
    """The matrix or its transpose, whichever is not higher than wide."""
    return matrix.mT if _stands(matrix) else matrix
