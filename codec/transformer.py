"""The Transformer stack of encoder, decoder and linear patches: pre-norm, RoPE, LayerScale, SDPA.

Keys are cached unrotated and positions are counted from the oldest cached key, so the rotary tables
stay short however long the stream is, and a chunk sees exactly what the whole signal would.

Letters: `B` batch, `L` positions, `D` width, `H` heads, `E` head width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, cast

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from .attention import Reach, rotary_table, rotate, windowed_attention
from .linear import Linear

Mode = Literal["block_causal", "causal", "full"]


@dataclass
class LayerCache:
    """Keys (before rotation) and values of the positions that later blocks still see."""

    keys: Tensor  # [B, H, P, E]
    values: Tensor  # [B, H, P, E]


class Attention(nn.Module):
    """Multi-head self-attention inside a :class:`Reach`."""

    def __init__(self, width: int, num_heads: int, rope_theta: float):
        super().__init__()
        self.num_heads = num_heads
        self.rope_theta = rope_theta
        self.qkv = Linear(width, 3 * width, bias=False)
        self.out = Linear(width, width, bias=False)

    def step(self, x: Tensor, reach: Reach, cache: LayerCache | None) -> tuple[Tensor, LayerCache]:
        """Attend over the cache and x, `[B, L, D]`; returns the output and the next cache."""
        batch, length, width = x.shape
        q, k, v = (
            self.qkv(x).reshape(batch, length, 3, self.num_heads, -1).permute(2, 0, 3, 1, 4)
        )  # each [B, H, L, E]
        if cache is not None:
            k, v = torch.cat([cache.keys, k], dim=2), torch.cat([cache.values, v], dim=2)
        total = k.shape[2]
        cos, sin = rotary_table(total, q.shape[-1], self.rope_theta, x.device, q.dtype)
        y = windowed_attention(
            rotate(q, cos[total - length :], sin[total - length :]),
            rotate(k, cos, sin),
            v,
            reach,
        )
        kept = max(0, total - reach.past)
        after = LayerCache(k[:, :, kept:].clone(), v[:, :, kept:].clone())
        return self.out(y.transpose(1, 2).reshape(batch, length, width)), after


class Layer(nn.Module):
    """Pre-norm attention and GELU feed-forward, each scaled by a learned LayerScale."""

    def __init__(
        self, width: int, num_heads: int, ffn_size: int, layer_scale: float, rope_theta: float
    ):
        super().__init__()
        self.attention_norm = nn.LayerNorm(width)
        self.attention = Attention(width, num_heads, rope_theta)
        self.attention_scale = nn.Parameter(torch.full((width,), layer_scale))
        self.ffn_norm = nn.LayerNorm(width)
        self.ffn_in = Linear(width, ffn_size)
        self.ffn_out = Linear(ffn_size, width)
        self.ffn_scale = nn.Parameter(torch.full((width,), layer_scale))

    def step(self, x: Tensor, reach: Reach, cache: LayerCache | None) -> tuple[Tensor, LayerCache]:
        """Map `[B, L, D]` to `[B, L, D]`."""
        y, cache = self.attention.step(self.attention_norm(x), reach, cache)
        x = x + self.attention_scale * y
        y = self.ffn_out(self.ffn_in(self.ffn_norm(x), activation="gelu"))
        return x + self.ffn_scale * y, cache


class Transformer(nn.Module):
    """A stack of layers over a sequence of blocks.

    Args:
        width: `D`.
        num_layers: depth.
        num_heads: `H`; the head width `D / H` must be even.
        ffn_size: inner width of the feed-forward part.
        window: positions that a position sees, its own block included.
        mode: `block_causal`, `causal` or `full`.
        layer_scale: initial LayerScale.
        rope_theta: base of the rotary embedding.
    """

    def __init__(
        self,
        *,
        width: int,
        num_layers: int,
        num_heads: int,
        ffn_size: int,
        window: int = 256,
        mode: Mode = "block_causal",
        layer_scale: float = 0.01,
        rope_theta: float = 10_000.0,
    ):
        super().__init__()
        self.window = window
        self.mode = mode
        self.gradient_checkpointing = False
        layers = [
            Layer(width, num_heads, ffn_size, layer_scale, rope_theta) for _ in range(num_layers)
        ]
        self.layers = cast("list[Layer]", nn.ModuleList(layers))
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor, block_size: int = 1) -> Tensor:
        """Map a whole sequence `[B, L, D]`, L a multiple of the block size."""
        reach = Reach.of(self.mode, self.window, block_size)
        for layer in self.layers:
            if self.gradient_checkpointing and self.training:
                x, _ = checkpoint(layer.step, x, reach, None, use_reentrant=False)
            else:
                x, _ = layer.step(x, reach, None)
        return self.norm(x)

    def step(
        self, x: Tensor, block_size: int, state: list[LayerCache] | None
    ) -> tuple[Tensor, list[LayerCache]]:
        """Map the next positions of a stream, whole blocks; returns the output and the state.

        Raises:
            ValueError: in mode `full`, which sees the future and cannot stream.
        """
        reach = Reach.of(self.mode, self.window, block_size)
        if reach.after:
            if state is not None:
                raise ValueError("attention mode 'full' sees the future and cannot stream")
            return self.forward(x, block_size), []
        caches: Sequence[LayerCache | None] = (
            state if state is not None else [None] * len(self.layers)
        )
        new_caches = []
        for layer, before in zip(self.layers, caches, strict=True):
            x, after = layer.step(x, reach, before)
            new_caches.append(after)
        return self.norm(x), new_caches
