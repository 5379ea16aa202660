"""Collective operations for statistics over the processes of a training run."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

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


def broadcast(tensors: Iterable[Tensor]) -> None:
    """Give every process the values of the first one, in place."""
    if world_size() > 1:
        for tensor in tensors:
            if tensor.numel():
                shared = tensor.detach().contiguous()
                dist.broadcast(shared, src=0)
                tensor.detach().copy_(shared)


def same_everywhere(tensors: Iterable[Tensor]) -> bool:
    """Whether all processes hold the same tensors to the bit; the same answer in all of them."""
    if world_size() == 1:
        return True
    digest, device = hashlib.sha256(), torch.device("cpu")
    for tensor in tensors:
        device = tensor.device
        digest.update(tensor.detach().cpu().flatten().view(torch.uint8).numpy().tobytes())
    own = torch.frombuffer(bytearray(digest.digest()), dtype=torch.uint8).to(device, torch.int32)
    rows = all_gather(own[None])
    return bool((rows == rows[0]).all())


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
