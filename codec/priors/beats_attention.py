"""Self-attention of BEATs with a gated relative position bias.

Shapes: ``B`` clips, ``N`` tokens, ``C`` width, ``H`` heads, ``D`` = C / H.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def position_buckets(offsets: Tensor, num_buckets: int, max_distance: int) -> Tensor:
    """Return the bucket of each offset ``key - query``: exact if small, logarithmic if large.

    Args:
        offsets: int64, any shape.
        num_buckets: of both directions together.
        max_distance: about where the last bucket of a direction begins.
    """
    half = num_buckets // 2
    exact = half // 2
    distance = offsets.abs()
    # In float32 like the reference: float64 would change the bucket of a few distances.
    ratio = torch.log(distance.float() / exact) / math.log(max_distance / exact)
    # Distance 0 gives -inf here, which `where` does not use.
    far = exact + (ratio.clamp(min=0) * (half - exact)).long()
    near_or_far = torch.where(distance < exact, distance, far.clamp(max=half - 1))
    return near_or_far + half * (offsets > 0)


class RelativeAttention(nn.Module):
    """Multi-head attention with a gated relative position bias.

    Args:
        width: C.
        num_heads: H.
        relative_attention_bias: table [buckets, H]; one module that all layers share and list in
            their state, as in official checkpoints.
        max_distance: of the buckets.
        gated: whether queries scale the bias (``gru_rel_pos``).
    """

    def __init__(
        self,
        *,
        width: int,
        num_heads: int,
        relative_attention_bias: nn.Embedding | None,
        max_distance: int,
        gated: bool,
    ) -> None:
        super().__init__()
        self.num_heads, self.max_distance, self.gated = num_heads, max_distance, gated
        self.q_proj = nn.Linear(width, width)
        self.k_proj = nn.Linear(width, width)
        self.v_proj = nn.Linear(width, width)
        self.out_proj = nn.Linear(width, width)
        if relative_attention_bias is not None:
            self.relative_attention_bias = relative_attention_bias
        if gated:
            self.grep_linear = nn.Linear(width // num_heads, 8)
            self.grep_a = nn.Parameter(torch.ones(1, num_heads, 1, 1))

    def position_bias(self, length: int) -> Tensor:
        """Return the bias [H, N queries, N keys] before the gate, which all layers share."""
        table = self.relative_attention_bias
        positions = torch.arange(length, device=table.weight.device)
        offsets = positions[None, :] - positions[:, None]
        buckets = position_buckets(offsets, table.num_embeddings, self.max_distance)
        return table(buckets).permute(2, 0, 1)

    def gate(self, queries: Tensor) -> Tensor:
        """Return the gate [B, H, N, 1] from the unscaled, projected queries [B, H, N, D]."""
        gates = self.grep_linear(queries)  # [B, H, N, 8]: 2 gates x 4 addends, same for all heads
        first, second = gates.unflatten(-1, (2, 4)).sum(-1).sigmoid().unsqueeze(-1).unbind(-2)
        return first * (second * self.grep_a - 1) + 2

    def forward(
        self, tokens: Tensor, position_bias: Tensor | None, token_mask: Tensor | None = None
    ) -> Tensor:
        """Attend over all tokens that are not padding.

        Args:
            tokens: [B, N, C].
            position_bias: [H, N, N] of ``position_bias``, or None for none.
            token_mask: [B, N] bool, True for padding.

        Returns:
            [B, N, C].
        """
        queries, keys, values = (
            project(tokens).unflatten(-1, (self.num_heads, -1)).transpose(1, 2)  # [B, H, N, D]
            for project in (self.q_proj, self.k_proj, self.v_proj)
        )
        bias = None
        if position_bias is not None:
            bias = position_bias[None].to(queries.dtype)
            bias = self.gate(queries) * bias if self.gated else bias  # [B, H, N, N]
        if token_mask is not None:
            padding = torch.zeros_like(token_mask, dtype=queries.dtype)
            padding = padding.masked_fill(token_mask, -math.inf)[:, None, None, :]
            bias = padding if bias is None else bias + padding
        # The reference divides by 32 and multiplies by 32 against overflow of fp16; omitted here.
        attended = F.scaled_dot_product_attention(queries, keys, values, attn_mask=bias)
        return self.out_proj(attended.transpose(1, 2).flatten(2))
