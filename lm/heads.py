"""From a hidden state of the backbone to the codes of the next row.

All heads answer the same two questions: what are the logits of known rows (training, scoring), and
what is the next row, given a way to choose a code (generation). Both must agree for the same
codes; a test holds them to it.

Letters: `N` positions, `D` width of the backbone, `K` codebooks, `C` codebook size.
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
    """What every pattern's head can do."""

    def __init__(self, config: AudioLMConfig):
        super().__init__()
        self.num_codebooks = config.num_codebooks
        self.num_codes = config.codebook_size + 1
        self.empty = Vocabulary(config).audio_empty

    def teacher_forced(self, hidden: Tensor, rows: Tensor) -> Tensor:
        """Return the logits `[N, K, C+1]` of rows `[N, K]` that follow hidden states `[N, D]`."""
        raise NotImplementedError

    def sample(self, hidden: Tensor, choose: Choose, streams: Sequence[int]) -> Tensor:
        """Choose the codes of `streams` after hidden states `[N, D]`: rows `[N, K]`, else empty."""
        raise NotImplementedError


class LinearHeads(AudioHeads):
    """One linear map for each codebook, all seeing the same state (`parallel`, `delay`, `flat`)."""

    def __init__(self, config: AudioLMConfig):
        super().__init__(config)
        heads = [
            Linear(config.hidden_size, self.num_codes, bias=False)
            for _ in range(config.num_codebooks)
        ]
        self.out = nn.ModuleList(heads)

    def teacher_forced(self, hidden: Tensor, rows: Tensor) -> Tensor:
        """Logits `[N, K, C+1]`; `rows` are not looked at."""
        return torch.stack([head(hidden) for head in self.out], dim=1)

    def sample(self, hidden: Tensor, choose: Choose, streams: Sequence[int]) -> Tensor:
        """Choose each stream by its own logits."""
        rows = hidden.new_full((len(hidden), self.num_codebooks), self.empty, dtype=torch.int64)
        for stream in streams:
            rows[:, stream] = choose(stream, self.out[stream](hidden))
        return rows
