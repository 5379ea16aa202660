"""RowEmbedding: the sum of the embeddings of the streams of a row.

Shapes: `B` batch, `L` rows, `K` codebooks, `C` codebook size, `D` width of the backbone.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from .config import AudioLMConfig
from .vocabulary import Vocabulary


class RowEmbedding(nn.Module):
    """Embeddings beside those of the backbone: controls, and one table for all codebooks.

    Codebook k (from 0) has the rows k * (C + 1) to k * (C + 1) + C: with K = 3 and
    C = 2048, code 5 of the second codebook is row 2049 + 5. The last row of each is `audio_end`.
    """

    def __init__(self, config: AudioLMConfig):
        super().__init__()
        self.vocabulary = Vocabulary(config)
        self.num_text = config.vocab_size
        self.num_codes = config.codebook_size + 1
        self.controls = nn.Embedding(self.vocabulary.num_controls, config.hidden_size)
        self.audio = nn.Embedding(config.num_codebooks * self.num_codes, config.hidden_size)

    def forward(self, rows: Tensor, embed_text: Callable[[Tensor], Tensor]) -> Tensor:
        """Embed rows `[B, L, 1+K]` as `[B, L, D]`; `embed_text` is that of the backbone."""
        text, codes = rows[..., 0], rows[..., 1:]
        is_text = text < self.num_text
        is_control = ~is_text & (text < self.vocabulary.text_empty)
        is_code = codes < self.num_codes  # [B, L, K]
        offsets = torch.arange(codes.shape[-1], device=codes.device) * self.num_codes
        audio = self.audio((codes + offsets).where(is_code, 0))  # [B, L, K, D]
        control = self.controls((text - self.num_text).where(is_control, 0))
        return (
            embed_text(text.where(is_text, 0)) * is_text[..., None]
            + control * is_control[..., None]
            + (audio * is_code[..., None]).sum(dim=-2)
        )
