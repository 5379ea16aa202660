"""One optimiser step: micro-batches, gradient averaging over processes, and skipping of bad steps.

A step with bad audio or gradients changes nothing but the counters: weights, codebooks and balancer
are restored.
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

_NORM_MEMORY = 100  # time constant of the running averages of gradient norms, in steps


@dataclass(frozen=True)
class StepReport:
    """Report of one optimiser step."""

    step: int  # its number, from 0
    draw: StepDraw
    losses: dict[str, Tensor]  # scalars, mean over this process's micro-batches
    norms: dict[str, float]  # gradient norms before clipping, over all processes
    problem: str | None  # why the step was skipped
    requests: Requests  # of all processes together


def optimizer_step(
    state: TrainState, batches: Sequence[SegmentBatch], requests: Requests
) -> StepReport:
    """Run or skip the next step.

    Args:
        state: Objects of the run.
        batches: The ``accumulate`` micro-batches of this process.
        requests: Requests of this process.
    """
    config, step = state.config, state.step
    draw = draw_step(config, step, state.model.config.frames_per_query_range)
    snapshot = _Snapshot.of(state)
    bad_audio, losses = _backward(state, batches, step, draw)
    flags = torch.tensor([bad_audio, requests.stop, requests.save], dtype=torch.float32)
    flags = flags.to(state.device)
    groups = {"generator": list(state.generator_parameters.values())}
    if state.discriminator_parameters:
        groups["discriminator"] = list(state.discriminator_parameters.values())
    if state.accelerator.num_processes > 1:
        everything = [parameter for group in groups.values() for parameter in group]
        reduce = state.accelerator.reduce
        flags = optim.average_gradients(everything, flags, lambda x: reduce(x, reduction="mean"))
    bad_audio, stop, save = (flag > 0 for flag in flags.tolist())
    if state.loss_scale is not None:
        state.loss_scale.undo(groups["generator"])
    norms = {name: optim.gradient_norm(group) for name, group in groups.items()}
    problem = "the audio is not finite" if bad_audio else _gradient_problem(state, norms)
    if problem is None:
        _apply_gradients(state, groups, norms, draw)
    else:
        snapshot.restore(state)
        if state.loss_scale is None or not state.loss_scale.overflowed(norms["generator"]):
            state.skipped += 1
            state.skipped_in_a_row += 1
    if state.loss_scale is not None and not bad_audio:
        state.loss_scale.update(norms["generator"])
    state.step += 1
    return StepReport(step, draw, losses, norms, problem, Requests(stop, save))


def _backward(
    state: TrainState, batches: Sequence[SegmentBatch], step: int, draw: StepDraw
) -> tuple[bool, dict[str, Tensor]]:
    """Compute the gradients of all micro-batches; return whether audio is bad, and mean losses."""
    for optimizer in (state.generator_optimizer, state.discriminator_optimizer):
        if optimizer is not None:
            optimizer.zero_grad(set_to_none=True)
    bad_audio = False
    sums: dict[str, Tensor] = {}
    for number, batch in enumerate(batches):
        torch.manual_seed(draw_int(state.config.seed, "step", step, number))
        wav = batch.wav.to(state.device, non_blocking=True)  # [B, 1, S]
        if not bool(torch.isfinite(wav).all()):
            # All processes must run the same graph, so the batch is replaced and not omitted.
            bad_audio, wav = True, torch.zeros_like(wav)
        for name, loss in micro_step(state, wav, batch.seeds, step, draw, batch.domains).items():
            sums[name] = sums[name] + loss if name in sums else loss
    return bad_audio, {name: total / len(batches) for name, total in sums.items()}


def _apply_gradients(
    state: TrainState,
    groups: dict[str, list[nn.Parameter]],
    norms: dict[str, float],
    draw: StepDraw,
) -> None:
    """Clip gradients, and update weights and their averages."""
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


def _gradient_problem(state: TrainState, norms: dict[str, float]) -> str | None:
    """Reason to skip the step, if any."""
    for name, norm in norms.items():
        if not math.isfinite(norm):
            return f"{name} gradient is {norm}"
        usual = state.usual_norms.get(name, math.inf)
        if norm > state.config.explode_factor * usual > 0:
            return f"{name} gradient exploded: norm {norm:.3g}, usually {usual:.3g}"
    return None


@dataclass(frozen=True)
class _Snapshot:
    """State that a forward pass changes: codebooks, running statistics, balancer."""

    buffers: list[tuple[Tensor, Tensor]]  # buffer and its copy
    balancer: dict[str, Tensor]

    @classmethod
    def of(cls, state: TrainState) -> "_Snapshot":
        buffers = [
            buffer
            for module in state.model.modules()
            if module.training
            for buffer in module.buffers(recurse=False)
        ]
        return cls(
            buffers=[(buffer, buffer.clone()) for buffer in buffers],
            balancer=state.balancer.state_dict() if state.balancer is not None else {},
        )

    @torch.no_grad()
    def restore(self, state: TrainState) -> None:
        for buffer, copy in self.buffers:
            buffer.copy_(copy)
        if state.balancer is not None:
            state.balancer.load_state_dict(self.balancer)


def micro_batch_size(config: CodecTrainConfig, num_processes: int) -> int:
    """Number of crops of a micro-batch in one process.

    Raises:
        ValueError: The batch size is not divisible.
    """
    parts = config.accumulate * num_processes
    if config.batch_size % parts:
        raise ValueError(
            f"batch_size must be a multiple of {parts} ({num_processes} processes,"
            f" {config.accumulate} micro-batches), got {config.batch_size}"
        )
    return config.batch_size // parts
