"""A language model moves to another codec: each new code begins as the old codes it stands for.

A better codec makes other codes, and a language model of the old ones would have to start over,
though it knows how to read and to listen. The same recordings in old and in new codes say which
codes took the place of which: then only the tables and heads of codes have to change, and they
change to what the model already understands. Ours (D), measured in docs/lab/language_model.md.

Letters: `N` frames, `K` codebooks, `C` codebook size, `W` width of a table.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from .model import AudioLM

_ROUNDS = 8  # of fitting one codebook's table to what the others leave
_DOUBT = 1.0  # frames that speak for the average code, against those in which a code was seen


@torch.no_grad()
def remap_codebooks(lm: AudioLM, old: Tensor, new: Tensor, *, doubt: float = _DOUBT) -> None:
    """Write the tables and heads of codes anew, for the codes of another codec.

    Args:
        lm: of any pattern; ends of audio keep their rows.
        old: `[N, K]`, frames in the codes that the model knows.
        new: `[N, K]`, the same frames in the codes that it is to know.
        doubt: how many frames speak against a code being more than an average one.

    Raises:
        ValueError: shapes or codes do not fit the model, or each other.
    """
    config, size = lm.config, lm.config.codebook_size
    for name, codes in (("old", old), ("new", new)):
        if codes.shape != (len(old), config.num_codebooks) or not len(codes):
            raise ValueError(
                f"{name} codes have shape {list(codes.shape)}, expected"
                f" [{len(old) or 'N'}, {config.num_codebooks}]"
            )
        if int(codes.min()) < 0 or int(codes.max()) >= size:
            raise ValueError(f"{name} codes reach beyond 0..{size - 1}")
    table = lm.embedding.audio.weight.view(config.num_codebooks, -1, config.hidden_size)
    # The backbone sees the sum of a frame's codes, so it is the sum that has to stay.
    _rewrite(list(table), old, new, size, doubt)
    heads: Any = lm.heads  # of any pattern
    tables = [head.weight for head in heads.out]
    for k, weight in enumerate(tables):
        _rewrite([weight], old[:, k : k + 1], new[:, k : k + 1], size, doubt)
    if isinstance(getattr(heads, "codes", None), nn.ModuleList):  # the code before, for each step
        for k, before in enumerate(heads.codes):
            _rewrite([before.weight], old[:, k : k + 1], new[:, k : k + 1], size, doubt)


def _rewrite(tables: list[Tensor], old: Tensor, new: Tensor, size: int, doubt: float) -> None:
    """Change the first C rows of tables: sums over `new` become what those over `old` were.

    Least squares, shrunk towards each table's average, one table after the other. What stands
    behind the codes, ends and empty places, stays.
    """
    said = [table[codes].float() for table, codes in zip(tables, old.T, strict=True)]  # [N, W] each
    meant = torch.stack(said).sum(dim=0)
    centres = [x.mean(dim=0) for x in said]
    fitted = [centre.repeat(size, 1) for centre in centres]
    left = meant - torch.stack(centres).sum(dim=0)
    for _ in range(_ROUNDS if len(tables) > 1 else 1):
        for k, centre in enumerate(centres):
            codes = new[:, k]
            left += fitted[k][codes] - centre
            sums = torch.zeros_like(fitted[k]).index_add_(0, codes, left)
            seen = torch.bincount(codes, minlength=size)[:, None]
            fitted[k] = centre + sums / (seen + doubt).clamp_min(1e-6)
            left -= fitted[k][codes] - centre
    for table, rows in zip(tables, fitted, strict=True):
        table[:size] = rows.to(table)
