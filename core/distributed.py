"""Collective operations for statistics over the processes of a training run."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor


def world_size() -> int:
    """Number of processes; 1 without distributed training."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def all_sum(x: Tensor) -> Tensor:
    """Sum over processes, in place."""
    if world_size() > 1:
        dist.all_reduce(x)
    return x


def all_gather(x: Tensor) -> Tensor:
    """Concatenate the vectors of all processes in rank order: `[N, P]` to `[N * world, P]`."""
    if world_size() == 1:
        return x
    parts = [torch.empty_like(x) for _ in range(world_size())]
    dist.all_gather(parts, x.contiguous())
    return torch.cat(parts)


def all_sum_with_gradient(x: Tensor) -> Tensor:
    """Sum over processes, with the gradient of all of them."""
    return x if world_size() == 1 else _Sum.apply(x)


class _Sum(torch.autograd.Function):
    """All-reduce in the forward and backward pass: each loss depends on all inputs."""

    @staticmethod
    def forward(ctx: object, x: Tensor) -> Tensor:
        return all_sum(x.clone())

    @staticmethod
    def backward(ctx: object, gradient: Tensor) -> Tensor:
        return all_sum(gradient.clone())
