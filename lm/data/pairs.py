"""The same recordings in the codes of two codecs."""

from __future__ import annotations

import torch
from torch import Tensor

from .dataset import Folders, TokenDataset
from .rows import TokenRow

# Ten hours at 12.5 Hz: a hundred frames for each code, and more would only take memory.
_MOST = 450_000


def paired_codes(
    old: Folders, new: Folders, *, codec: str | None = None, most: int = _MOST
) -> tuple[Tensor, Tensor]:
    """Frames of recordings that both have, `[N, K]` and `[N, K]` int64.

    Args:
        old: folders of tokens.
        new: folders of tokens of another codec with as many frames a second.
        codec: fingerprint that the old ones are expected to have.
        most: frames; of more, recordings are drawn at random, always the same.

    Raises:
        ValueError: no recording is in both, or the old ones are of another codec.
    """
    one, two = TokenDataset(old, fingerprint=codec), TokenDataset(new)
    places = {_key(one.labels(n)): n for n in range(len(one))}
    pairs = [(places[key], n) for n in range(len(two)) if (key := _key(two.labels(n))) in places]
    if not pairs:
        raise ValueError(
            f"none of the {len(two)} recordings in {new} is among the {len(one)} in {old}: tokenize"
            " the same sources with both codecs"
        )
    before: list[Tensor] = []
    after: list[Tensor] = []
    count = 0
    for place in torch.randperm(len(pairs), generator=torch.Generator().manual_seed(0)).tolist():
        if count >= most:
            break
        a, b = pairs[place]
        before.append(one[a].codes.T)
        after.append(two[b].codes.T)
        count += len(before[-1])
    return torch.cat(before), torch.cat(after)


def _key(row: TokenRow) -> tuple[str, int]:
    """The same name and length: the same recording."""
    return row.id, row.codes.shape[-1]
