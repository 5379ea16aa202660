"""Adapt a language model to another codec: initialise each new code from the old codes it replaces.

The codes of a new codec mean other sounds, so a language model of the old codec would have to be
trained from scratch. The same recordings in both codes show which codes correspond. Only the
embeddings and heads of codes are replaced, by what the model already understands. Ours (D),
measured in docs/lab/language_model.md.

Shapes: `N` frames, `K` codebooks, `C` codebook size, `W` width of a table.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from .model import AudioLM

_ROUNDS = 8  # of fitting the table of each codebook to the residual of the others
_PRIOR_FRAMES = 1.0  # weight of the mean of a table, in frames


@torch.no_grad()
def remap_codebooks(
    lm: AudioLM, old: Tensor, new: Tensor, *, prior_frames: float = _PRIOR_FRAMES
) -> None:
    """Replace embeddings and heads of codes by those for another codec.

    Args:
        lm: of any pattern, changed in place; rows of the end of audio stay.
        old: `[N, K]`, frames in the codes of the model.
        new: `[N, K]`, the same frames in the codes of the new codec.
        prior_frames: weight of the mean embedding in the embedding of a code, in frames.

    Raises:
        ValueError: shapes or codes do not match the model, or each other.
    """
    config, size = lm.config, lm.config.codebook_size
    for name, codes in (("old", old), ("new", new)):
        if codes.shape != (len(old), config.num_codebooks) or not len(codes):
            raise ValueError(
                f"{name} codes must be [{len(old) or 'N'}, {config.num_codebooks}], got"
                f" {list(codes.shape)}"
            )
        if int(codes.min()) < 0 or int(codes.max()) >= size:
            raise ValueError(
                f"{name} codes must be 0..{size - 1}, got {int(codes.min())}..{int(codes.max())}"
            )
    table = lm.embedding.audio.weight.view(config.num_codebooks, -1, config.hidden_size)
    # The backbone sees the sum of the codes of a frame, so the sum has to be preserved.
    _rewrite(list(table), old, new, size, prior_frames)
    heads: Any = lm.heads  # of any pattern
    tables = [head.weight for head in heads.out]
    for k, weight in enumerate(tables):
        _rewrite([weight], old[:, k : k + 1], new[:, k : k + 1], size, prior_frames)
    if isinstance(
        getattr(heads, "codes", None), nn.ModuleList
    ):  # embeddings of the previous code, by step
        for k, embedding in enumerate(heads.codes):
            _rewrite([embedding.weight], old[:, k : k + 1], new[:, k : k + 1], size, prior_frames)


def _rewrite(
    tables: list[Tensor], old: Tensor, new: Tensor, size: int, prior_frames: float
) -> None:
    """Change the first C rows of tables so that sums over `new` match those over `old` before.

    Least squares, shrunk towards the mean of each table, one table after the other. Later rows
    (end and empty) stay.
    """
    vectors = [
        table[codes].float() for table, codes in zip(tables, old.T, strict=True)
    ]  # [N, W] each
    means = [x.mean(dim=0) for x in vectors]
    fitted = [mean.repeat(size, 1) for mean in means]
    residual = torch.stack(vectors).sum(dim=0) - torch.stack(means).sum(dim=0)
    for _ in range(_ROUNDS if len(tables) > 1 else 1):
        for k, mean in enumerate(means):
            codes = new[:, k]
            residual += fitted[k][codes] - mean
            sums = torch.zeros_like(fitted[k]).index_add_(0, codes, residual)
            counts = torch.bincount(codes, minlength=size)[:, None]
            fitted[k] = mean + sums / (counts + prior_frames).clamp_min(1e-6)
            residual -= fitted[k][codes] - mean
    for table, rows in zip(tables, fitted, strict=True):
        table[:size] = rows.to(table)
