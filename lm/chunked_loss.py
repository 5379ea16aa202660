"""Losses computed in chunks, so that the logits of all positions never exist at once.

The logits of a large text vocabulary take more memory than the rest of a small model: 4096
positions of 150,000 ids are 2.5 GB in float32, and a loss needs several tensors of that size. Here
the gradient of each chunk is computed at once, in the forward pass, and only those of the states
and of the weights are kept (as in Liger, Hsu et al. 2024). Nothing is computed twice.

Shapes: `N` positions with a target, `n` of a chunk, `W` width of the states, `V` scored ids.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from .sequences import IGNORED

# Logits of a chunk, but at least so many positions: each chunk reads all weights once more.
_LOGITS = 2**24
_POSITIONS = 512


@dataclass(frozen=True)
class StreamLoss:
    """Cross-entropy of one stream over its targets."""

    total: Tensor  # scalar, sum over the targets
    count: Tensor  # scalar int64, number of targets
    hits: Tensor  # scalar int64, targets with the highest logit

    def __add__(self, other: StreamLoss) -> StreamLoss:
        return StreamLoss(
            self.total + other.total, self.count + other.count, self.hits + other.hits
        )

    @property
    def mean(self) -> Tensor:
        """Mean over the targets; zero without targets."""
        return self.total / self.count.clamp_min(1)

    @property
    def accuracy(self) -> Tensor:
        """Share of the targets with the highest logit."""
        return self.hits / self.count.clamp_min(1)


def chunk_logits(num_ids: int) -> int:
    """Logits of a chunk, at most, of positions that score so many ids."""
    return max(_LOGITS, _POSITIONS * num_ids)


def stream_loss(logits: Tensor, labels: Tensor, smoothing: float = 0.0) -> StreamLoss:
    """Cross-entropy of logits `[N, C+1]` and labels `[N]` in float32; ignores `IGNORED`.

    With label smoothing, that share of each target is spread over all C+1 values.
    """
    logits = logits.float()
    total = F.cross_entropy(
        logits, labels, ignore_index=IGNORED, reduction="sum", label_smoothing=smoothing
    )
    is_target = labels != IGNORED
    hits = ((logits.argmax(dim=-1) == labels) & is_target).sum()
    return StreamLoss(total, is_target.sum(), hits)


def chunked(
    part: Callable[[Tensor, int], StreamLoss],
    states: Tensor,
    sizes: Sequence[int],
    modules: Iterable[nn.Module],
) -> StreamLoss:
    """The sum of a loss over chunks, with the gradients of the states and of weights.

    In float16 the gradients are those of PyTorch, of all logits: they need the scale of the loss,
    which is known in the backward pass only.

    Args:
        part: loss of the states `[n, W]` of a chunk, by its number.
        states: `[N, W]`.
        sizes: positions of each chunk, N together; at least one chunk.
        modules: whose trained weights `part` uses.
    """
    if not torch.is_grad_enabled() or _in_float16(states.device):
        parts = [part(chunk, number) for number, chunk in enumerate(states.split(list(sizes)))]
        return sum(parts[1:], parts[0])
    weights = {id(p): p for module in modules for p in module.parameters() if p.requires_grad}
    return StreamLoss(*_Chunked.apply(part, list(sizes), states, *weights.values()))


def _in_float16(device: torch.device) -> bool:
    kind = device.type
    return torch.is_autocast_enabled(kind) and torch.get_autocast_dtype(kind) == torch.float16


class _Chunked(torch.autograd.Function):
    """Sums `part` over chunks and keeps its gradients, of which backward is a multiple."""

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any, part: Callable[[Tensor, int], StreamLoss], sizes: list[int], *inputs: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        states, *weights = inputs
        needed = ctx.needs_input_grad[2:]
        sums: list[StreamLoss] = []
        of_states: list[Tensor] = []
        of_weights: list[Tensor | None] = [None] * len(weights)
        for number, chunk in enumerate(states.split(sizes)):
            chunk = chunk.detach().requires_grad_(needed[0])
            with torch.set_grad_enabled(any(needed)):
                loss = part(chunk, number)
            sums.append(StreamLoss(loss.total.detach(), loss.count, loss.hits))
            if not loss.total.requires_grad:
                continue
            wanted = [chunk, *weights] if needed[0] else weights
            found = torch.autograd.grad(loss.total, wanted, allow_unused=True)
            if needed[0]:
                first, found = found[0], found[1:]
                of_states.append(torch.zeros_like(chunk) if first is None else first)
            of_weights = [_added(old, new) for old, new in zip(of_weights, found, strict=True)]
        ctx.complete = bool(of_states)
        ctx.save_for_backward(*([torch.cat(of_states)] if of_states else []), *of_weights)
        total = sum(sums[1:], sums[0])
        ctx.mark_non_differentiable(total.count, total.hits)
        return total.total, total.count, total.hits

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, scale: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        saved = list(ctx.saved_tensors)
        scaled = [None if value is None else value * scale for value in saved]
        return (None, None, *([] if ctx.complete else [None]), *scaled)


def _added(old: Tensor | None, new: Tensor | None) -> Tensor | None:
    if old is None or new is None:
        return new if old is None else old
    return old + new
