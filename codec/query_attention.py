"""What the queries of the encoder attend to, recomputed beside a usual forward pass.

Hooks on the joint projection of each layer keep queries and keys; the path of the codec itself is
the usual one and computes no weights.

Shapes: `M` layers, `Q` queries, `w` frames per query, `L` positions, `H` heads, `E` head width.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .attention import Reach, rotary_table
from .coders import QueryEncoder
from .transformer import Transformer

_CHUNK = 64  # queries whose weights are in memory at once


@dataclass(frozen=True)
class QueryAttention:
    """Attention of each query, averaged over heads; all parts together sum to 1."""

    frames: Tensor  # [M, Q, w] each frame of its own window
    itself: Tensor  # [M, Q]
    before: Tensor  # [M, Q] all positions of earlier windows together
    after: Tensor  # [M, Q] of later windows, in mode `full` only

    def drop(self, count: int) -> QueryAttention:
        """Leave out the first queries."""
        parts = (self.frames, self.itself, self.before, self.after)
        return QueryAttention(*(part[:, count:] for part in parts))


@torch.no_grad()
def query_attention(
    encoder: QueryEncoder, frames: Tensor, frames_per_query: int
) -> tuple[Tensor, QueryAttention | None]:
    """Encode frames, and return how the queries attend.

    Args:
        encoder: the encoder.
        frames: `[1, T, D]`, T a multiple of w.
        frames_per_query: w.

    Returns:
        The queries `[1, Q, D]` as of the encoder, and their attention; None for a codec without
        query tokens (`pooling="mean"`).
    """
    with _kept_projections(encoder.transformer) as kept:
        queries = encoder(frames, frames_per_query)
    if encoder.query is None:
        return queries, None
    layers = [_summarize(encoder.transformer, qkv, frames_per_query) for qkv in kept]
    own, itself, before, after = (torch.stack(part) for part in zip(*layers, strict=True))
    return queries, QueryAttention(own, itself, before, after)


@contextmanager
def _kept_projections(transformer: Transformer) -> Iterator[list[Tensor]]:
    """Collect the outputs `[1, L, 3 H E]` of the joint projections, first layer first."""
    kept: list[Tensor] = []

    def keep(_: nn.Module, __: object, output: Tensor) -> None:
        kept.append(output)

    hooks = [layer.attention.qkv.register_forward_hook(keep) for layer in transformer.layers]
    try:
        yield kept
    finally:
        for hook in hooks:
            hook.remove()


def _summarize(
    transformer: Transformer, qkv: Tensor, frames_per_query: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Attention of the queries of one layer, by the parts of :class:`QueryAttention`."""
    length, block = qkv.shape[1], frames_per_query + 1
    width = transformer.head_width
    split = qkv.reshape(1, length, 3, -1, width)
    rotation = rotary_table(0, length, width, transformer.rope_theta, qkv.device)
    q, k = rotation.apply(split[:, :, :2])[0].float().permute(1, 2, 0, 3)  # [H, L, E] each
    reach = Reach.of(transformer.mode, transformer.window, block)
    parts = []
    for first in range(0, length // block, _CHUNK):
        last = min(first + _CHUNK, length // block)
        places = torch.arange(first, last, device=q.device) * block + frames_per_query
        start = max(0, first * block - reach.past)
        stop = min(length, last * block + reach.future)
        keys = torch.arange(start, stop, device=q.device)
        scores = q[:, places] @ k[:, start:stop].transpose(1, 2) * width**-0.5
        distance = places[:, None] // reach.block_size - keys // reach.block_size
        allowed = (distance <= reach.before) & (distance >= -reach.after)
        weights = scores.masked_fill(~allowed, float("-inf")).softmax(dim=-1).mean(dim=0).cpu()
        parts.append(_by_part(weights, places.cpu(), keys.cpu(), frames_per_query))
    own, itself, before, after = (torch.cat(part) for part in zip(*parts, strict=True))
    return own, itself, before, after


def _by_part(
    weights: Tensor, places: Tensor, keys: Tensor, frames_per_query: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Sums of weights `[q, keys]` of queries at the places `[q]`."""
    offset = keys - places[:, None]
    columns = (places - int(keys[0]))[:, None] + torch.arange(-frames_per_query, 1)
    window = weights.gather(1, columns)  # [q, w + 1]
    before = (weights * (offset < -frames_per_query)).sum(dim=1)
    after = (weights * (offset > 0)).sum(dim=1)
    return window[:, :-1], window[:, -1], before, after
