"""What the codec's statistics share with the other processes of a training run."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor


def world_size() -> int:
    """Processes that train together; 1 outside a distributed run."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def all_sum(x: Tensor) -> Tensor:
    """Sum over processes, in place."""
    if world_size() > 1:
        dist.all_reduce(x)
    return x


def all_gather(x: Tensor) -> Tensor:
    """The vectors of all processes in rank order: `[N, P]` to `[N * world, P]`."""
    if world_size() == 1:
        return x
    parts = [torch.empty_like(x) for _ in range(world_size())]
    dist.all_gather(parts, x.contiguous())
    return torch.cat(parts)


def all_sum_with_gradient(x: Tensor) -> Tensor:
    """Sum over processes whose gradient comes home from all of them."""
    return x if world_size() == 1 else _Sum.apply(x)


class _Sum(torch.autograd.Function):
    """All-reduce forward, and backward: every process's loss depends on every process's part."""

    @staticmethod
    def forward(ctx: object, x: Tensor) -> Tensor:
        return all_sum(x.clone())

    @staticmethod
    def backward(ctx: object, gradient: Tensor) -> Tensor:
        return all_sum(gradient.clone())
