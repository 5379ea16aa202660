"""Trained weights and optimiser states of the language model, as tensors by name.

Parameters that are not trained are not saved: an adapter's checkpoint does not hold its base.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from ...core.runtime import Runtime
from ...core.training.checkpoint import Checkpoint, CheckpointError
from ...core.training.optimizer import flatten_state
from ..adapter_files import from_low_rank
from ..model import AudioLM

_COPY = ".modules_to_save.default"  # where peft keeps the full copies of an adapter


def trained(module: nn.Module) -> dict[str, nn.Parameter]:
    """Return the trained parameters by name; full copies of an adapter have the base's names."""
    own = module.named_parameters()
    return {name.replace(_COPY, ""): p for name, p in own if p.requires_grad}


def tensors(module: nn.Module, optimizer: Any, keep: bool = True) -> dict[str, dict[str, Tensor]]:
    """Return weights and optimiser states, whole; with sharded weights called in all processes.

    Args:
        module: the model.
        optimizer: of its trained parameters.
        keep: whether this process needs sharded tensors; otherwise it returns none of them.
    """
    names = trained(module)
    return {
        "model": all_whole(names, keep),
        "optimizer": all_whole(flatten_state(optimizer, names), keep),
    }


def all_whole(values: Mapping[str, Tensor], keep: bool) -> dict[str, Tensor]:
    """Return the full values of tensors by name; called in all processes together.

    Sharded tensors are gathered one after the other, so that a device holds one whole tensor at a
    time, and are returned on the CPU, by those processes that keep them.
    """
    result = {}
    for name, value in values.items():
        full = whole(value)
        if not isinstance(value.detach(), DTensor):
            result[name] = full
        elif keep:
            result[name] = full.cpu()
    return result


def restore(module: nn.Module, optimizer: Any, checkpoint: Checkpoint) -> None:
    """Restore what :func:`tensors` returned.

    Raises:
        CheckpointError: Names or shapes differ.
    """
    names = trained(module)
    restore_weights(module, checkpoint.tensors["model"])
    optimizer.state.clear()
    states = from_low_rank(checkpoint.tensors.get("optimizer", {}), names, ".default")
    for key, value in states.items():
        name, _, entry = key.rpartition(".")
        if name not in names:
            raise CheckpointError(f"the checkpoint has an optimiser state of unknown {name}")
        parameter = names[name]
        own = value.clone() if entry == "step" else like(parameter, value)
        if entry == "step" and parameter.device.type != "cpu":  # fused AdamW counts on the device
            own = own.to(parameter.device)
        optimizer.state[parameter][entry] = own


def restore_weights(module: nn.Module, values: dict[str, Tensor]) -> None:
    """Restore the trained parameters.

    Raises:
        CheckpointError: Names or shapes differ.
    """
    names = trained(module)
    values = from_low_rank(values, names, ".default")
    if names.keys() != values.keys():
        odd = sorted(names.keys() ^ values.keys())
        raise CheckpointError(f"names differ from the checkpoint: {', '.join(odd[:5])}")
    for name, parameter in names.items():
        if parameter.shape != values[name].shape:
            raise CheckpointError(
                f"{name} has shape {list(values[name].shape)} in the checkpoint, expected"
                f" {list(parameter.shape)}"
            )
        copy_whole(parameter, values[name])


def gather(state: dict[str, Any], world: int) -> list[dict[str, Any]]:
    """Return the states of all processes, by rank."""
    if world == 1:
        return [state]
    states: list[Any] = [None] * world
    torch.distributed.all_gather_object(states, state)
    return states


def own_place(places: list[dict[str, Any]], rank: int, world: int) -> dict[str, Any]:
    """Return the position of this process in the data.

    Raises:
        ValueError: Each process had its own data (a stream), and their number has changed.
    """
    if all(place == places[0] for place in places):
        return places[0]
    if len(places) != world:
        raise ValueError(
            f"a stream goes on exactly with as many processes as before: {len(places)} then,"
            f" {world} now"
        )
    return places[rank]


def shard(lm: AudioLM, world: int, runtime: Runtime) -> None:
    """Shard a model over all processes, layer by layer of its backbone; on a CPU through gloo.

    Every process must hold the same weights, on the CPU: each layer is moved to the device and
    divided before the next one. Layers are gathered in the precision of their products, and
    gradients are summed in float32. Audio tables and heads, whose methods are called besides
    `forward`, belong to the root module, which is whole and in float32 during a step.
    """
    mesh = init_device_mesh(runtime.device.type, (world,))
    # Inputs are not cast: the sum of the layers' outputs stays in float32, as without shards.
    policy = MixedPrecisionPolicy(
        param_dtype=runtime.dtype, reduce_dtype=torch.float32, cast_forward_inputs=False
    )
    for layer in lm.backbone.get_decoder().layers:
        fully_shard(layer, mesh=mesh, mp_policy=policy)
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
