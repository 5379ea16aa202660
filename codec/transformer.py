"""Transformer of encoder, decoder and linear Patchify: pre-norm, RoPE, LayerScale.

Streams attend to the same positions as whole signals (cache.py).

Shapes: `B` batch, `L` positions, `D` width, `H` heads, `E` head width.
"""

from __future__ import annotations

from typing import Literal, cast

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ..core.linear import Linear, linear_gelu
from .attention import Reach, Rotation, rotary_table, windowed_attention
from .cache import AttentionCache

Mode = Literal["block_causal", "causal", "full"]


class Attention(nn.Module):
    """Multi-head self-attention within a :class:`Reach`."""

    def __init__(self, width: int, num_heads: int):
        super().__init__()
        self.num_heads = num_heads
        self.qkv = Linear(width, 3 * width, bias=False)
        self.out = Linear(width, width, bias=False)

    def step(
        self, x: Tensor, reach: Reach, rotation: Rotation, cache: AttentionCache | None
    ) -> tuple[Tensor, AttentionCache | None]:
        """Attend to the cache and to x, `[B, L, D]`; return the output and the next cache.

        Without a cache, x is a whole signal and no cache is returned.
        """
        batch, length, width = x.shape
        qkv = self.qkv(x).reshape(batch, length, 3, self.num_heads, -1)  # [B, L, 3, H, E]
        rotated = rotation.apply(qkv[:, :, :2]).transpose(1, 3)  # [B, H, 2, L, E]
        q, k, v = rotated[:, :, 0], rotated[:, :, 1], qkv[:, :, 2].transpose(1, 2)
        missing: tuple[int, ...] = ()
        if cache is not None:
            missing = cache.missing
            k, v, cache = cache.extend(k, v, reach.past)
        y = windowed_attention(q, k, v, reach, missing)
        return self.out(y.transpose(1, 2).reshape(batch, length, width)), cache


class Layer(nn.Module):
    """Pre-norm attention and GELU feed-forward, each scaled by a learned LayerScale."""

    def __init__(self, width: int, num_heads: int, ffn_size: int, layer_scale: float):
        super().__init__()
        self.attention_norm = nn.LayerNorm(width)
        self.attention = Attention(width, num_heads)
        self.attention_scale = nn.Parameter(torch.full((width,), layer_scale))
        self.ffn_norm = nn.LayerNorm(width)
        self.ffn_in = Linear(width, ffn_size)
        self.ffn_out = Linear(ffn_size, width)
        self.ffn_scale = nn.Parameter(torch.full((width,), layer_scale))

    def step(
        self, x: Tensor, reach: Reach, rotation: Rotation, cache: AttentionCache | None
    ) -> tuple[Tensor, AttentionCache | None]:
        """Map `[B, L, D]` to `[B, L, D]`."""
        y, cache = self.attention.step(self.attention_norm(x), reach, rotation, cache)
        x = torch.addcmul(x, self.attention_scale, y)
        y = self.ffn_out(linear_gelu(self.ffn_in, self.ffn_norm(x)))
        return torch.addcmul(x, self.ffn_scale, y), cache


class Transformer(nn.Module):
    """Stack of layers over a sequence of blocks.

    Args:
        width: `D`.
        num_layers: number of layers.
        num_heads: `H`; the head width `D / H` must be even.
        ffn_size: inner width of the feed-forward part.
        window: positions that a position attends to, including its own block.
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
        self.head_width = width // num_heads
        self.rope_theta = rope_theta
        layers = [Layer(width, num_heads, ffn_size, layer_scale) for _ in range(num_layers)]
        self.layers = cast("list[Layer]", nn.ModuleList(layers))
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor, block_size: int = 1) -> Tensor:
        """Map a whole sequence `[B, L, D]`, L a multiple of the block size."""
        reach, rotation = Reach.of(self.mode, self.window, block_size), self._rotation(x, 0)
        for layer in self.layers:
            if self.gradient_checkpointing and self.training:
                x, _ = checkpoint(layer.step, x, reach, rotation, None, use_reentrant=False)
            else:
                x, _ = layer.step(x, reach, rotation, None)
        return self.norm(x)

    def step(
        self, x: Tensor, block_size: int, state: list[AttentionCache] | None
    ) -> tuple[Tensor, list[AttentionCache]]:
        """Map the next whole blocks of a stream; return the output and the next state.

        Raises:
            ValueError: The mode is `full`, which attends to the future, and there is a state.
        """
        reach = Reach.of(self.mode, self.window, block_size)
        if reach.after:
            if state is not None:
                raise ValueError("mode must be causal for streams, got 'full'")
            return self.forward(x, block_size), []
        before = [AttentionCache()] * len(self.layers) if state is None else state
        rotation = self._rotation(x, before[0].position if before else 0)
        after = []
        for layer, cache in zip(self.layers, before, strict=True):
            x, new_cache = layer.step(x, reach, rotation, cache)
            after.append(cast("AttentionCache", new_cache))
        return self.norm(x), after

    def _rotation(self, x: Tensor, start: int | tuple[int, ...]) -> Rotation:
        """Rotary embedding of `[B, L, D]`, which begins at `start`, or each row at its own."""
        return rotary_table(start, x.shape[1], self.head_width, self.rope_theta, x.device)
