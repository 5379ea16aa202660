"""Windowed self-attention whose cost is linear in the length.

A sequence consists of blocks (w frames and their query; block size 1 for plain frames). A position
attends to its own block and to the preceding blocks inside the sliding window (`block_causal`,
paper.md 2.2 D), to preceding single positions (`causal`), or to both sides (`full`). The sequence
is folded into chunks, and each chunk attends to itself and to the reach before (and after) it:
neither time nor memory has a term in the square of the length.

Shapes: `B` batch, `L` positions, `P` cached positions before them, `H` heads, `E` head width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Reach:
    """Receptive field of a position, in whole blocks of `block_size` positions."""

    block_size: int
    before: int  # preceding blocks
    after: int  # following blocks; 0 unless the mode is `full`

    @classmethod
    def of(cls, mode: str, window: int, block_size: int) -> Reach:
        """Return the reach of a mode for a window of positions, which includes the own block."""
        if mode == "causal":
            return cls(1, window - 1, 0)
        blocks = max(1, window // block_size)
        return cls(block_size, blocks - 1, blocks - 1 if mode == "full" else 0)

    @property
    def past(self) -> int:
        """Number of preceding positions outside the own block: the length of a full cache."""
        return self.before * self.block_size

    @property
    def future(self) -> int:
        """Number of following positions outside the own block."""
        return self.after * self.block_size


def windowed_attention(
    q: Tensor, k: Tensor, v: Tensor, reach: Reach, missing: Sequence[int] = ()
) -> Tensor:
    """Attend inside the reach.

    Args:
        q: queries, `[B, H, L, E]`.
        k: keys, `[B, H, P + L, E]`; the P cached ones come first, P a multiple of the block size.
        v: values, `[B, H, P + L, E]`.
        reach: receptive field of each position.
        missing: of each row, the number of first keys that do not exist; (): all exist. Such steps
            are not folded: they should be short.

    Returns:
        `[B, H, L, E]`.
    """
    length, cached = q.shape[2], k.shape[2] - q.shape[2]
    size = _chunk_size(reach, length)
    if length <= size or missing:
        mask = _mask(length, k.shape[2], cached, reach, q.device)
        if missing:
            first = torch.tensor(missing, device=q.device)[:, None, None, None]
            exists = torch.arange(k.shape[2], device=q.device) >= first  # [B, 1, 1, P + L]
            mask = exists if mask is None else exists & mask
        return _attend(q, k, v, mask)
    return _folded(q, k, v, reach, size, cached)


def _attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    """Softmax attention `[B, H, L, E]` with a boolean mask, True where attention is allowed.

    PyTorch's fused kernel is slow on a CPU in bfloat16, most of all its backward pass: 28 ms
    against 6 ms for the three plain operations (12 x 4 heads, 168 positions of width 64, one
    thread). The plain operations store all attention weights; the size of a chunk bounds their
    memory.
    """
    if q.device.type != "cpu" or not torch.is_grad_enabled():
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    weights = torch.matmul(q, k.transpose(-1, -2)) * q.shape[-1] ** -0.5
    if mask is not None:
        weights = weights.masked_fill(~mask, float("-inf"))
    return torch.matmul(weights.softmax(dim=-1).to(v.dtype), v)


def _folded(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    reach: Reach,
    size: int,
    cached: int,
) -> Tensor:
    """Attend in chunks of `size`; keys of a chunk range from start - past to end + future."""
    batch, heads, length, width = q.shape
    chunks = -(-length // size)
    tail = chunks * size - length
    q = F.pad(q, (0, 0, 0, tail)).reshape(batch, heads, chunks, size, width)
    span = reach.past + size + reach.future
    padding = (0, 0, reach.past - cached, tail + reach.future)
    k, v = (
        F.pad(x, padding).unfold(2, span, size).transpose(-1, -2)  # [B, H, chunks, span, E]
        for x in (k, v)
    )
    q, k, v = (x.transpose(1, 2).flatten(0, 1) for x in (q, k, v))  # [B * chunks, H, ., E]
    mask = _folded_mask(chunks, size, length, cached, reach, q.device)  # [chunks, 1, size, span]
    if batch > 1 and mask.shape[0] > 1:
        mask = mask.repeat(batch, 1, 1, 1)
    y = _attend(q, k, v, mask)
    y = y.reshape(batch, chunks, heads, size, width).transpose(1, 2)
    return y.reshape(batch, heads, chunks * size, width)[:, :, :length]


def _chunk_size(reach: Reach, length: int) -> int:
    """Positions per chunk, a multiple of the block size; a short sequence is one chunk.

    Half the reach: with a chunk as long as the reach, a position would have twice as many keys as
    it attends to.
    """
    target = max((reach.past + reach.future) // 2, 64)
    whole = -(-target // reach.block_size) * reach.block_size
    return length if length <= 2 * whole else whole


@lru_cache(maxsize=64)
@torch.inference_mode(False)  # a cached inference tensor could not take part in training
def _mask(length: int, keys: int, cached: int, reach: Reach, device: torch.device) -> Tensor | None:
    """Attention mask `[L, P + L]`, or None if every position attends to all keys."""
    first, last = cached // reach.block_size, (keys - 1) // reach.block_size  # blocks of queries
    if last <= reach.before and last - first <= reach.after:
        return None
    row = (torch.arange(length) + cached)[:, None] // reach.block_size
    column = torch.arange(keys)[None] // reach.block_size
    allowed = (row - column <= reach.before) & (column - row <= reach.after)
    return allowed.to(device)


@lru_cache(maxsize=16)
@torch.inference_mode(False)  # a cached inference tensor could not take part in training
def _folded_mask(
    chunks: int, size: int, length: int, cached: int, reach: Reach, device: torch.device
) -> Tensor:
    """Attention mask `[chunks, 1, size, span]`, or `[1, 1, size, span]` if all chunks are alike."""
    span = reach.past + size + reach.future
    row = (torch.arange(size) + reach.past)[:, None] // reach.block_size
    column = torch.arange(span)[None] // reach.block_size
    near = (row - column <= reach.before) & (column - row <= reach.after)
    if cached == reach.past and length == chunks * size and not reach.after:
        return near[None, None].to(device)  # all keys of all chunks exist
    start = torch.arange(chunks)[:, None, None] * size - reach.past
    index = start + torch.arange(span)
    exists = (index >= -cached) & (index < length)
    allowed = (near & exists)[:, None]
    # Padding at the end has no key and is cut off later; softmax needs at least one key.
    allowed |= ~allowed.any(dim=-1, keepdim=True)
    return allowed.to(device)


@lru_cache(maxsize=16)
@torch.inference_mode(False)  # a cached inference tensor could not take part in training
def rotary_table(
    start: int | tuple[int, ...], length: int, width: int, theta: float, device: torch.device
) -> Rotation:
    """Return the rotary embedding of positions `start .. start + length` for heads of width `E`.

    Rows may have starts of their own. Angles are computed in float64, so that they stay exact in
    long streams.
    """
    frequency = theta ** (-torch.arange(0, width, 2, dtype=torch.float64) / width)
    positions = torch.tensor(start, dtype=torch.float64)[..., None] + torch.arange(length)
    angle = positions[..., None] * frequency
    cos, sin = angle.cos(), angle.sin()
    tables = torch.cat([cos, cos], dim=-1), torch.cat([-sin, sin], dim=-1)
    return Rotation(*(table[..., None, None, :].to(device, torch.float32) for table in tables))


@dataclass(frozen=True)
class Rotation:
    """Rotary embedding (RoPE): rotates the channel pairs (e, e + E/2) of each position."""

    cos: Tensor  # [L, 1, 1, E], or [B, L, 1, 1, E]
    sin: Tensor  # of the same shape, negative for the first channels of the pairs

    def apply(self, x: Tensor) -> Tensor:
        """Rotate `[B, L, N, H, E]`."""
        cos, sin = (
            self.cos.to(x.dtype),
            self.sin.to(x.dtype),
        )  # under autocast the dtype of x is known only here
        return torch.addcmul(x * cos, x.roll(x.shape[-1] // 2, dims=-1), sin)
