"""Audio heads: hidden states of the backbone -> codes of the next row.

A head computes the logits of given rows (training, scoring) and samples the next row (generation).
Both agree for the same codes.

Shapes: `N` positions, `D` width of the backbone, `K` codebooks, `C` codebook size.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
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

    def teacher_forced(self, hidden: Tensor, rows: Tensor) -> Tensor:
        """Logits `[N, K, C+1]` of rows `[N, K]` that follow hidden states `[N, D]`."""
        raise NotImplementedError

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

    def teacher_forced(self, hidden: Tensor, rows: Tensor) -> Tensor:
        """Logits `[N, K, C+1]`; `rows` are ignored."""
        return torch.stack([head(hidden) for head in self.out], dim=1)

    def sample(self, hidden: Tensor, choose: Choose, streams: Sequence[int]) -> Tensor:
        """Sample each stream from its own logits."""
        rows = hidden.new_full((len(hidden), self.num_codebooks), self.empty, dtype=torch.int64)
        for stream in streams:
            rows[:, stream] = choose(stream, self.out[stream](hidden))
        return rows
