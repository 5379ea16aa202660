"""Muon (Jordan et al. 2024): optimiser with orthogonalised momentum.

The update of a matrix is approximately `U V^T` of its momentum `U S V^T`, so all directions have
the same learning rate. Newton-Schulz iterations compute it with matrix products only.
`torch.optim.Muon` processes one matrix at a time and always in bfloat16; here all matrices of one
shape are orthogonalised together, in bfloat16 only on devices that support it (core/runtime.py).

Shapes: `N` matrices of one shape, `R` their smaller side, `C` their larger side.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..runtime import native_bfloat16

# Coefficients of the polynomial `a x + b x^3 + c x^5` of each iteration, which is the nearest to 1
# on the range of its predecessor (Polar Express, Amsel et al. 2025), starting with 0.003 to 1. Four
# iterations map that range to 0.8 to 1.2; five with the polynomial of Muon's authors, to 0.7 to
# 1.2.
POLYNOMIALS = (
    (8.3837, -24.7659, 18.3571),
    (4.0434, -3.0114, 0.5695),
    (3.5056, -2.6267, 0.5257),
    (2.4901, -1.8343, 0.4368),
)
# The first polynomial is steep at 1: keeps singular values below 1 despite rounding.
_MARGIN = 1.01
_TINY = 1e-7
# Maximum size of a batch of matrices: bounds the memory, and is enough to fill a GPU.
_MAX_BATCH = 1 << 26
# Minimum C / R for which iterations on the Gram matrix `[R, R]` take fewer operations.
_GRAM_RATIO = 1.5


class Muon(torch.optim.Optimizer):
    """SGD with orthogonalised Nesterov momentum, for the matrices of Transformer layers.

    State: ``momentum_buffer`` of each parameter, as in `torch.optim.Muon`.

    Args:
        params: matrices `[O, I]`, or parameter groups of them.
        lr: on the scale of AdamW: an update has the root mean square 0.2 lr (Moonlight, Liu et al.
            2025).
        weight_decay: decoupled, as in AdamW.
        momentum: decay of the running mean of gradients.

    Raises:
        ValueError: A parameter is not a matrix.
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
                    raise ValueError(f"parameters of Muon must be matrices, got shape {shape}")

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
        nesterov = torch._foreach_lerp(gradients, buffers, momentum)
        torch._foreach_mul_(list(parameters), 1 - lr * group["weight_decay"])
        for indices in _batches(parameters):
            wide = torch.stack([_as_wide(nesterov[i]) for i in indices])  # [N, R, C]
            orthogonal = orthogonalize(wide).to(parameters[indices[0]].dtype).unbind()
            scale = 0.2 * math.sqrt(wide.shape[-1])
            updates = [
                matrix.mT if _is_tall(parameters[i]) else matrix
                for i, matrix in zip(indices, orthogonal, strict=True)
            ]
            torch._foreach_add_([parameters[i] for i in indices], updates, alpha=-lr * scale)

    def _buffer(self, parameter: nn.Parameter) -> Tensor:
        state = self.state[parameter]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(parameter)
        return state["momentum_buffer"]


def orthogonalize(matrices: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """Map singular values of at least 0.003 of the Frobenius norm to 0.8 to 1.2.

    Args:
        matrices: `[N, R, C]` with R <= C.
        dtype: of the products; by default bfloat16 on devices that support it, else float32.

    Returns:
        `[N, R, C]` of this dtype.
    """
    if dtype is None:
        dtype = torch.bfloat16 if native_bfloat16(matrices.device) else torch.float32
    norms = torch.linalg.vector_norm(matrices, dim=(1, 2), keepdim=True)
    x = (matrices / (_MARGIN * norms).clamp_min(_TINY)).to(dtype)
    # The Gram matrix has squared singular values: small ones would be inaccurate in bfloat16.
    if dtype == torch.float32 and x.shape[2] >= _GRAM_RATIO * x.shape[1]:
        return _orthogonalize_by_gram(x)
    for a, b, c in POLYNOMIALS:
        gram = x @ x.mT  # [N, R, R]
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x


def _orthogonalize_by_gram(x: Tensor) -> Tensor:
    """The same iterations, as left multiplications by polynomials of the Gram matrix."""
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
    """Group the indices of parameters of equal shape up to transposition, device and dtype."""
    by_shape: dict[tuple[Any, ...], list[int]] = {}
    for index, parameter in enumerate(parameters):
        key = (*sorted(parameter.shape), parameter.device, parameter.dtype)
        by_shape.setdefault(key, []).append(index)
    batches = []
    for indices in by_shape.values():
        size = max(1, _MAX_BATCH // parameters[indices[0]].numel())
        batches += [indices[first : first + size] for first in range(0, len(indices), size)]
    return batches


def _is_tall(matrix: Tensor) -> bool:
    return matrix.shape[0] > matrix.shape[1]


def _as_wide(matrix: Tensor) -> Tensor:
    """Transpose matrices with more rows than columns."""
    return matrix.mT if _is_tall(matrix) else matrix
