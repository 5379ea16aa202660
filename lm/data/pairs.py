"""The same recordings in the codes of two codecs."""

from __future__ import annotations

import torch
from torch import Tensor

from .dataset import Folders, TokenDataset
from .rows import TokenRow


def paired_codes(old: Folders, new: Folders, *, codec: str | None = None) -> tuple[Tensor, Tensor]:
    """Frames of all recordings that both have, `[N, K]` and `[N, K]` int64.

    Args:
        old: folders of tokens.
        new: folders of tokens of another codec with as many frames a second.
        codec: fingerprint that the old ones are expected to have.

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
    frames = [(one[a].codes.T, two[b].codes.T) for a, b in pairs]
    return torch.cat([a for a, _ in frames]), torch.cat([b for _, b in frames])


def _key(row: TokenRow) -> tuple[str, int]:
    """The same name and length: the same recording."""
    return row.id, row.codes.shape[-1]
