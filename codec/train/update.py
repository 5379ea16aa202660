"""One optimiser step: its micro-batches, the exchange between processes, and the care for bad ones.

A step whose batch or gradient is broken leaves no trace: weights, codebooks and balancer are as
they were, only the counters move on.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ...core.data import SegmentBatch
from ...core.training import optimizer as optim
from ...core.training.loop import Requests
from ...core.training.seeding import draw_int
from .config import CodecTrainConfig
from .state import TrainState
from .step import StepDraw, draw_step, micro_step

# A gradient norm's running average forgets over about this many steps.
_NORM_MEMORY = 100


@dataclass(frozen=True)
class StepReport:
    """What happened in one optimiser step."""

    step: int  # its number, from 0
    draw: StepDraw
    losses: dict[str, Tensor]  # scalars, mean over this process's micro-batches
    norms: dict[str, float]  # gradient norms before clipping, over all processes
    problem: str | None  # why the step was skipped
    requests: Requests  # of all processes together


def optimizer_step(
    state: TrainState, batches: Sequence[SegmentBatch], requests: Requests
) -> StepReport:
    """Run the next step on its micro-batches and move on, or skip it.

    Args:
        state: Live objects of the run.
        batches: This process's ``accumulate`` micro-batches.
        requests: Of this process.
    """
    config, step = state.config, state.step
    draw = draw_step(config, step, state.model.config.frames_per_query_range)
    memory = _remember(state)
    broken, losses = _gradients(state, batches, step, draw)
    flags = torch.tensor([broken, requests.stop, requests.save], dtype=torch.float32)
    flags = flags.to(state.device)
    groups = {"generator": list(state.generator_parameters.values())}
    if state.discriminator_parameters:
        groups["discriminator"] = list(state.discriminator_parameters.values())
    if state.accelerator.num_processes > 1:
        everything = [parameter for group in groups.values() for parameter in group]
        reduce = state.accelerator.reduce
        flags = optim.average_gradients(everything, flags, lambda x: reduce(x, reduction="mean"))
    broken, stop, save = (flag > 0 for flag in flags.tolist())
    if state.loss_scale is not None:
        state.loss_scale.undo(groups["generator"])
    norms = {name: optim.gradient_norm(group) for name, group in groups.items()}
    problem = "the audio is not finite" if broken else _problem(state, norms)
    if problem is None:
        _move(state, groups, norms, draw)
    else:
        memory.restore(state)
        if state.loss_scale is None or not state.loss_scale.overflowed(norms["generator"]):
            state.skipped += 1
            state.skipped_in_a_row += 1
    if state.loss_scale is not None and not broken:
        state.loss_scale.update(norms["generator"])
    state.step += 1
    return StepReport(step, draw, losses, norms, problem, Requests(stop, save))


def _gradients(
    state: TrainState, batches: Sequence[SegmentBatch], step: int, draw: StepDraw
) -> tuple[bool, dict[str, Tensor]]:
    """Gradients of all micro-batches; whether audio was broken, and the mean losses."""
    for optimizer in (state.generator_optimizer, state.discriminator_optimizer):
        if optimizer is not None:
            optimizer.zero_grad(set_to_none=True)
    broken = False
    sums: dict[str, Tensor] = {}
    for number, batch in enumerate(batches):
        torch.manual_seed(draw_int(state.config.seed, "step", step, number))
        wav = batch.wav.to(state.device, non_blocking=True)  # [B, 1, S]
        if not bool(torch.isfinite(wav).all()):
            # All processes must walk the same graph, so the crop is replaced, not left out.
            broken, wav = True, torch.zeros_like(wav)
        for name, loss in micro_step(state, wav, batch.seeds, step, draw).items():
            sums[name] = sums[name] + loss if name in sums else loss
    return broken, {name: total / len(batches) for name, total in sums.items()}


def _move(
    state: TrainState,
    groups: dict[str, list[nn.Parameter]],
    norms: dict[str, float],
    draw: StepDraw,
) -> None:
    """Clip and apply the gradients."""
    for name, group in groups.items():
        optimizer = (
            state.generator_optimizer if name == "generator" else state.discriminator_optimizer
        )
        if optimizer is None or not optim.gradients(group):
            continue
        optim.clip(group, norms[name], state.config.clip_norm)
        optim.set_lr(optimizer, draw.lr_scale)
        optimizer.step()
        optim.mark_changed(group)
        usual = state.usual_norms.get(name, norms[name])
        state.usual_norms[name] = usual + (norms[name] - usual) / _NORM_MEMORY
    if state.average is not None:
        state.average.update(state.step)
    state.skipped_in_a_row = 0


def _problem(state: TrainState, norms: dict[str, float]) -> str | None:
    """What is wrong with the gradients, if anything."""
    for name, norm in norms.items():
        if not math.isfinite(norm):
            return f"{name} gradient is {norm}"
        usual = state.usual_norms.get(name, math.inf)
        if norm > state.config.explode_factor * usual > 0:
            return f"{name} gradient exploded: norm {norm:.3g}, usually {usual:.3g}"
    return None


@dataclass(frozen=True)
class _Memory:
    """What a forward pass changes besides gradients: codebooks, running statistics, balancer."""

    buffers: list[tuple[Tensor, Tensor]]  # the buffer, and a copy from before
    balancer: dict[str, Tensor]

    @torch.no_grad()
    def restore(self, state: TrainState) -> None:
        for buffer, before in self.buffers:
            buffer.copy_(before)
        if state.balancer is not None:
            state.balancer.load_state_dict(self.balancer)


def _remember(state: TrainState) -> _Memory:
    moving = [
        buffer
        for module in state.model.modules()
        if module.training
        for buffer in module.buffers(recurse=False)
    ]
    return _Memory(
        buffers=[(buffer, buffer.clone()) for buffer in moving],
        balancer=state.balancer.state_dict() if state.balancer is not None else {},
    )


def micro_batch_size(config: CodecTrainConfig, num_processes: int) -> int:
    """Crops of one micro-batch in one process.

    Raises:
        ValueError: The batch cannot be divided evenly.
    """
    parts = config.accumulate * num_processes
    if config.batch_size % parts:
        raise ValueError(
            f"batch_size {config.batch_size} cannot be divided over {num_processes} processes"
            f" and {config.accumulate} micro-batches: expected a multiple of {parts}"
        )
    return config.batch_size // parts
