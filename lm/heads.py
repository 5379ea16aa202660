"""Audio heads: hidden states of the backbone -> codes of the next row.

A head computes the logits of given rows (training, scoring) and samples the next row (generation).
Both agree for the same codes.

Shapes: `N` positions (frames), `D` width of the backbone, `W` width of the depth Transformer, `K`
codebooks, `S` = K - 1 steps, `H` heads, `C` codebook size.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..core.linear import Linear
from .config import AudioLMConfig
from .vocabulary import Vocabulary

# (stream, logits [N, C+1]) -> codes [N]; the last logit is `audio_end`.
Choose = Callable[[int, Tensor], Tensor]


class AudioHeads(nn.Module):
    """Base class of the heads of all patterns."""

    def __init__(self, config: AudioLMConfig):
        super().__init__()
        self.num_codebooks = config.num_codebooks
        self.num_codes = config.codebook_size + 1
        self.empty = Vocabulary(config).audio_empty

    out: nn.ModuleList  # what maps the states of each codebook to its logits

    def states(self, hidden: Tensor, rows: Tensor) -> list[Tensor]:
        """States `[N, D or W]` that score each codebook of rows `[N, K]`, which follow `[N, D]`."""
        raise NotImplementedError

    def teacher_forced(self, hidden: Tensor, rows: Tensor) -> Tensor:
        """Logits `[N, K, C+1]` of rows `[N, K]` that follow hidden states `[N, D]`."""
        # list: a slice would be a new ModuleList, and adding layers to it counts as new weights.
        pairs = zip(list(self.out), self.states(hidden, rows), strict=True)
        return torch.stack([head(states) for head, states in pairs], dim=1)

    def sample(self, hidden: Tensor, choose: Choose, streams: Sequence[int]) -> Tensor:
        """Sample the codes of `streams`: rows `[N, K]`, empty in other streams."""
        raise NotImplementedError


class LinearHeads(AudioHeads):
    """A linear layer for each codebook, of the same state (`parallel`, `delay`, `flat`)."""

    def __init__(self, config: AudioLMConfig):
        super().__init__(config)
        heads = [
            Linear(config.hidden_size, self.num_codes, bias=False)
            for _ in range(config.num_codebooks)
        ]
        self.out = nn.ModuleList(heads)

    def states(self, hidden: Tensor, rows: Tensor) -> list[Tensor]:
        """The hidden states `[N, D]` for each codebook; `rows` are ignored."""
        return [hidden] * self.num_codebooks

    def sample(self, hidden: Tensor, choose: Choose, streams: Sequence[int]) -> Tensor:
        """Sample each stream from its own logits."""
        rows = hidden.new_full((len(hidden), self.num_codebooks), self.empty, dtype=torch.int64)
        for stream in streams:
            rows[:, stream] = choose(stream, self.out[stream](hidden))
        return rows


# Keys and values of the steps so far, each [N, H, W / H].
StepCache = list[tuple[Tensor, Tensor]]


class StepLinear(nn.Module):
    """A linear layer for each step."""

    def __init__(self, num_steps: int, wide: int, out: int):
        super().__init__()
        self.steps = nn.ModuleList(Linear(wide, out, bias=False) for _ in range(num_steps))

    def at(self, step: int, x: Tensor) -> Tensor:
        """Map the input `[N, I]` of one step."""
        return self.steps[step](x)

    def forward(self, x: Tensor) -> Tensor:
        """Map all steps: `[N, S, I]` to `[N, S, O]`."""
        return torch.stack([self.at(k, x[:, k]) for k in range(x.shape[1])], dim=1)


class DepthLayer(nn.Module):
    """Attention over the steps and a gated feed-forward layer, in parallel on the same input.

    Parallel (D; as in GPT-J and PaLM) instead of sequential as in Moshi: two linear layers per step
    instead of four, because generation is limited by the number of calls. Losses of the demo are
    1.82 / 2.57 / 4.50 nats, and 1.79 / 2.58 / 4.52 if sequential.
    """

    def __init__(self, config: AudioLMConfig):
        super().__init__()
        steps, width = config.num_codebooks - 1, config.depth_width
        # 2 / 3 because of the third matrix of the gate; multiples of 64 suit the kernels.
        inner = max(64, round(width * config.depth_ffn_ratio * 2 / 3 / 64) * 64)
        self.num_heads, self.sizes = config.depth_heads, (3 * width, inner, inner)
        self.norm = nn.RMSNorm(width, eps=1e-6)
        self.into = StepLinear(steps, width, sum(self.sizes))  # queries, keys, values; gate; up
        self.out = StepLinear(steps, width + inner, width)

    def forward(self, x: Tensor) -> Tensor:
        """All steps of given codes at once: `[N, S, W]`."""
        count, steps, width = x.shape
        qkv, gate, up = self.into(self.norm(x)).split(self.sizes, dim=-1)
        heads = (self.num_heads, width // self.num_heads)
        q, k, v = qkv.view(count, steps, 3, *heads).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)  # [N, H, S, W/H]
        mixed = mixed.transpose(1, 2).reshape(count, steps, width)
        return x + self.out(torch.cat([mixed, F.silu(gate) * up], dim=-1))

    def step(self, k: int, x: Tensor, cache: StepCache) -> Tensor:
        """One step `[N, W]` after those in `cache`, which is extended."""
        count, width = x.shape
        qkv, gate, up = self.into.at(k, self.norm(x)).split(self.sizes, dim=-1)
        q, key, value = qkv.unflatten(1, (3, self.num_heads, -1)).unbind(1)  # [N, H, W/H]
        cache.append((key, value))
        mixed = value  # with a single key, attention returns its value
        if len(cache) > 1:
            keys = torch.stack([pair[0] for pair in cache], dim=2)  # [N, H, k+1, W/H]
            values = torch.stack([pair[1] for pair in cache], dim=2)
            mixed = F.scaled_dot_product_attention(q[:, :, None], keys, values)
        mixed = mixed.reshape(count, width)
        return x + self.out.at(k, torch.cat([mixed, F.silu(gate) * up], dim=-1))


class DepthHeads(AudioHeads):
    """The first code is predicted by the backbone's state, the others by the depth Transformer.

    As in the paper (paper.md 8: A-, after Moshi and RSTnet), the backbone makes one step per frame
    and the depth Transformer one for each code but the first. Every step has its own weights, so
    there are no position embeddings.

    As in CSM; in Moshi the depth Transformer predicts all codes. The first code depends on no other
    code of its frame, and the state is wider than the depth Transformer: in the demo, its loss
    after 500 steps is 1.91 nats, and 2.02 by a depth Transformer of width 128.
    """

    def __init__(self, config: AudioLMConfig):
        super().__init__(config)
        steps, width = config.num_codebooks - 1, config.depth_width
        self.project = StepLinear(steps, config.hidden_size, width)
        # Embeddings of the previous code, by step.
        self.codes = nn.ModuleList(nn.Embedding(self.num_codes + 1, width) for _ in range(steps))
        self.layers = nn.ModuleList(DepthLayer(config) for _ in range(config.depth_layers))
        self.norm = nn.RMSNorm(width, eps=1e-6)
        widths = [config.hidden_size, *[width] * steps]
        self.out = nn.ModuleList(Linear(wide, self.num_codes, bias=False) for wide in widths)

    def states(self, hidden: Tensor, rows: Tensor) -> list[Tensor]:
        """`[N, D]` for the first code of rows `[N, K]`, `[N, W]` for each given those before it."""
        if self.num_codebooks == 1:
            return [hidden]
        previous = [table(rows[:, k]) for k, table in enumerate(self.codes)]
        x = self.project(hidden[:, None].expand(-1, len(previous), -1))  # [N, S, W]
        x = x + torch.stack(previous, dim=1)
        for layer in self.layers:
            x = layer(x)
        return [hidden, *self.norm(x).unbind(1)]

    def sample(self, hidden: Tensor, choose: Choose, streams: Sequence[int]) -> Tensor:
        """Sample one code after the other, in the order of the codebooks."""
        rows = hidden.new_full((len(hidden), self.num_codebooks), self.empty, dtype=torch.int64)
        if not streams:
            return rows
        rows[:, 0] = choose(0, self.out[0](hidden))
        caches: list[StepCache] = [[] for _ in self.layers]
        for k in range(max(streams)):
            x = self.project.at(k, hidden) + self.codes[k](rows[:, k])
            for layer, cache in zip(self.layers, caches, strict=True):
                x = layer.step(k, x, cache)  # type: ignore[operator]
            rows[:, k + 1] = choose(k + 1, self.out[k + 1](self.norm(x)))
        return rows
