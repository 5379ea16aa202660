"""FSDP2: weights, gradients and optimiser states sharded over the processes."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from ..model import AudioLM


def shard(lm: AudioLM, world: int) -> None:
    """Shard a model over all processes, layer by layer of its backbone; on a CPU through gloo.

    Every process must hold the same weights. Audio tables and heads, whose methods are called
    besides `forward`, belong to the root module, which is whole during a step.
    """
    kind = next(lm.parameters()).device.type
    mesh = init_device_mesh(kind, (world,))
    for layer in lm.backbone.get_decoder().layers:
        fully_shard(layer, mesh=mesh)
    fully_shard(lm, mesh=mesh, reshard_after_forward=False)


def whole(tensor: Tensor) -> Tensor:
    """Return the full value of a tensor; called in all processes together."""
    value = tensor.detach()
    return value.full_tensor() if isinstance(value, DTensor) else value


@torch.no_grad()
def copy_whole(target: Tensor, value: Tensor) -> None:
    """Copy a full value into a tensor that may be sharded."""
    target.copy_(like(target, value))


def like(target: Tensor, value: Tensor) -> Tensor:
    """Return a full value sharded like another tensor."""
    value = value.to(target.device, target.dtype)
    if isinstance(target, DTensor):
        return distribute_tensor(value, target.device_mesh, target.placements)
    return value


def is_sharded(module: nn.Module) -> bool:
    """Whether a module has sharded parameters."""
    return any(isinstance(p, DTensor) for p in module.parameters())
