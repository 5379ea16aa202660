"""A small Transformer over the codes of one frame: each code sees those before it in its frame.

The paper's language model is of this kind (paper.md 8: A-, after Moshi and RSTnet): the backbone
makes one step per frame, and this Transformer K short ones. Every step has weights of its own,
which also tells the steps apart, so there are no positions.

Letters: `N` positions (frames), `D` width of the backbone, `W` width here, `K` codebooks (steps),
`H` heads, `C` codebook size.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..codec.linear import Linear
from .config import AudioLMConfig
from .heads import AudioHeads, Choose

# Keys and values of the steps so far, each [N, H, W / H].
StepCache = list[tuple[Tensor, Tensor]]


class StepLinear(nn.Module):
    """One linear map for each step."""

    def __init__(self, num_steps: int, wide: int, out: int):
        super().__init__()
        self.steps = nn.ModuleList(Linear(wide, out, bias=False) for _ in range(num_steps))

    def at(self, step: int, x: Tensor) -> Tensor:
        """Map `[N, I]` of one step."""
        return self.steps[step](x)

    def forward(self, x: Tensor) -> Tensor:
        """Map all steps: `[N, K, I]` to `[N, K, O]`."""
        return torch.stack([self.at(k, x[:, k]) for k in range(x.shape[1])], dim=1)


class DepthLayer(nn.Module):
    """Pre-norm attention over the steps, and a gated feed-forward."""

    def __init__(self, config: AudioLMConfig):
        super().__init__()
        steps, width = config.num_codebooks, config.depth_width
        # Gating has a third matrix; whole multiples of 64 suit the kernels.
        inner = max(64, round(width * config.depth_ffn_ratio * 2 / 3 / 64) * 64)
        self.num_heads = config.depth_heads
        self.attention_norm = nn.RMSNorm(width, eps=1e-6)
        self.qkv = StepLinear(steps, width, 3 * width)
        self.out = StepLinear(steps, width, width)
        self.ffn_norm = nn.RMSNorm(width, eps=1e-6)
        self.gate = StepLinear(steps, width, 2 * inner)
        self.down = StepLinear(steps, inner, width)

    def forward(self, x: Tensor) -> Tensor:
        """All steps of known codes at once: `[N, K, W]`."""
        count, steps, width = x.shape
        qkv = self.qkv(self.attention_norm(x))
        heads = (self.num_heads, width // self.num_heads)
        q, k, v = qkv.view(count, steps, 3, *heads).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)  # [N, H, K, W/H]
        x = x + self.out(mixed.transpose(1, 2).reshape(count, steps, width))
        gate, up = self.gate(self.ffn_norm(x)).chunk(2, dim=-1)
        return x + self.down(F.silu(gate) * up)

    def step(self, k: int, x: Tensor, cache: StepCache) -> Tensor:
        """One step `[N, W]`, after those whose keys and values `cache` holds."""
        count, width = x.shape
        heads = (self.num_heads, width // self.num_heads)
        qkv = self.qkv.at(k, self.attention_norm(x))
        q, key, value = qkv.view(count, 3, *heads).unbind(1)  # [N, H, W/H]
        cache.append((key, value))
        mixed = value  # of a single key, whatever the query asks
        if len(cache) > 1:
            keys = torch.stack([pair[0] for pair in cache], dim=2)  # [N, H, k+1, W/H]
            values = torch.stack([pair[1] for pair in cache], dim=2)
            mixed = F.scaled_dot_product_attention(q[:, :, None], keys, values)
        x = x + self.out.at(k, mixed.reshape(count, width))
        gate, up = self.gate.at(k, self.ffn_norm(x)).chunk(2, dim=-1)
        return x + self.down.at(k, F.silu(gate) * up)


class DepthHeads(AudioHeads):
    """The depth Transformer, between the backbone's state and one head for each codebook."""

    def __init__(self, config: AudioLMConfig):
        super().__init__(config)
        steps, width = config.num_codebooks, config.depth_width
        self.project = StepLinear(steps, config.hidden_size, width)
        # The code before, in a table for each step but the first (whose input is the state alone).
        self.codes = nn.ModuleList(
            nn.Embedding(self.num_codes + 1, width) for _ in range(steps - 1)
        )
        self.layers = nn.ModuleList(DepthLayer(config) for _ in range(config.depth_layers))
        self.norm = nn.RMSNorm(width, eps=1e-6)
        self.out = StepLinear(steps, width, self.num_codes)

    def teacher_forced(self, hidden: Tensor, rows: Tensor) -> Tensor:
        """Logits `[N, K, C+1]` of rows `[N, K]`, each code seeing those before it in its row."""
        count = len(hidden)
        x = self.project(hidden[:, None].expand(-1, self.num_codebooks, -1))  # [N, K, W]
        if self.num_codebooks > 1:
            before = [table(rows[:, k]) for k, table in enumerate(self.codes)]
            start = x.new_zeros(count, 1, x.shape[-1])
            x = x + torch.cat([start, torch.stack(before, dim=1)], dim=1)
        for layer in self.layers:
            x = layer(x)
        return self.out(self.norm(x))

    def sample(self, hidden: Tensor, choose: Choose, streams: Sequence[int]) -> Tensor:
        """Choose code after code, in the order of the codebooks."""
        rows = hidden.new_full((len(hidden), self.num_codebooks), self.empty, dtype=torch.int64)
        caches: list[StepCache] = [[] for _ in self.layers]
        for k in range(self.num_codebooks):
            if k > max(streams, default=-1):
                break
            x = self.project.at(k, hidden)
            if k:
                x = x + self.codes[k - 1](rows[:, k - 1])
            for layer, cache in zip(self.layers, caches, strict=True):
                x = layer.step(k, x, cache)  # type: ignore[operator]
            rows[:, k] = choose(k, self.out.at(k, self.norm(x)))
        return rows
