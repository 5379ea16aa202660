"""Packing: several examples one after another in one row, without padding.

    input_ids         [1, T, 1+K]   rows of the first example, then of the second, ...
    document_lengths  [N]           rows of each example, T together

No example attends to another (`packed_attention.py`), and positions begin at 0 in each of them, so
that losses and gradients are those of the padded batch.

Shapes: `N` examples, `T` rows of all examples, `L` rows of one, `K` codebooks.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .sequences import IGNORED

if TYPE_CHECKING:
    from .model import AudioLM

PACKED = "almtok_packed"  # name of the attention implementation
SDPA = ("sdpa", PACKED)  # what reads padded batches by scaled_dot_product_attention
_REPLACED = ("sdpa", "eager", PACKED)
_LAYERS = {"full_attention", "sliding_attention"}


class Packing:
    """The examples of a packed row.

    Neighbours of the same length make one run, which is computed as a batch without padding.

    Attributes:
        lengths: rows of each example.
        runs: number and length of the examples of each run.
        conditions: `[T]`, rows that attend in both directions within their example; None: no rows.
        masks: attention masks that were made for this packing, by their kind.
    """

    def __init__(self, lengths: Sequence[int] | Tensor, num_rows: int, device: torch.device):
        """Describe a row.

        Args:
            lengths: rows of each example, `[N]`.
            num_rows: of the packed row.
            device: of tensors.

        Raises:
            ValueError: the lengths are not positive, or do not add up to the row.
        """
        values = lengths.tolist() if isinstance(lengths, Tensor) else lengths
        self.lengths = tuple(int(length) for length in values)
        if sum(self.lengths) != num_rows or min(self.lengths, default=0) < 1:
            raise ValueError(
                f"document_lengths must be positive and add up to the {num_rows} rows of input_ids,"
                f" got {list(self.lengths[:8])}, {sum(self.lengths)} together"
            )
        self.device = device
        self.runs = [(len(list(group)), length) for length, group in groupby(self.lengths)]
        self.conditions: Tensor | None = None
        self.masks: dict[Any, Any] = {}
        lengths_ = torch.tensor(self.lengths)
        starts = lengths_.cumsum(0) - lengths_
        self._lengths, self.starts = lengths_.to(device), starts.to(device)

    @property
    def position_ids(self) -> Tensor:
        """Positions `[1, T]`, from 0 in each example."""
        places = torch.arange(sum(self.lengths), device=self.device)
        return (places - self.expand(self.starts)[0])[None]

    def expand(self, values: Tensor) -> Tensor:
        """Repeat a value of each example, `[N]`, for all of its rows: `[1, T]`."""
        size = sum(self.lengths)  # given, so that a GPU need not be asked
        return values.repeat_interleave(self._lengths, output_size=size)[None]

    def split(self, x: Tensor) -> tuple[Tensor, ...]:
        """Split `[1, T, ...]` into the examples, `[L, ...]` each."""
        return x[0].split(self.lengths)

    def split_runs(self, x: Tensor, dim: int) -> list[Tensor]:
        """Split dimension `dim` of length T into runs, in two dimensions: number and length."""
        parts = x.split([count * length for count, length in self.runs], dim)
        return [part.unflatten(dim, run) for part, run in zip(parts, self.runs, strict=True)]

    def hide_starts(self, labels: Tensor) -> Tensor:
        """Labels `[1, T, 1+K]` in which no example predicts the first row of the next one."""
        return labels.index_fill(1, self.starts, IGNORED)

    def select(self, chosen: Tensor) -> Packing:
        """The packing of those examples of `[N]` bool that are chosen, in the same order."""
        kept = [n for n, keep in zip(self.lengths, chosen.tolist(), strict=True) if keep]
        return Packing(kept, sum(kept), self.device)


def first_rows(x: Tensor, packing: Packing | None) -> Tensor:
    """The first row of each example of `[B, L, ...]` or of a packed `[1, T, ...]`: `[N, ...]`."""
    return x[:, 0] if packing is None else x[0, packing.starts]


def any_row(mask: Tensor, packing: Packing | None) -> Tensor:
    """Whether any row of each example is set in `[B, L]` or in a packed `[1, T]`: `[N]` bool."""
    if packing is None:
        return mask.any(dim=1)
    counts = F.pad(mask[0].cumsum(0), (1, 0))
    return counts[packing.starts + packing._lengths] > counts[packing.starts]


def all_rows(values: Tensor, packing: Packing | None) -> Tensor:
    """A value of each example, `[N]`, for its rows: `[B, 1]`, or `[1, T]` of a packed row."""
    return values[:, None] if packing is None else packing.expand(values)


def examples_of(x: Tensor, packing: Packing | None) -> tuple[Tensor, ...]:
    """The examples `[L, ...]` of `[B, L, ...]`, with padding, or of a packed `[1, T, ...]`."""
    return x.unbind(0) if packing is None else packing.split(x)


def enable_packing(lm: AudioLM) -> None:
    """Set the attention of a backbone to one that reads packed rows and padded batches.

    Raises:
        ValueError: the backbone's attention cannot be replaced, or its layers would carry one
            example into the next: recurrent ones, convolutions.
    """
    backbone: Any = lm.backbone
    text = backbone.config.get_text_config()
    if text._attn_implementation == PACKED:
        return
    kinds = set(getattr(text, "layer_types", None) or ["full_attention"])
    replaceable = backbone._supports_attention_backend and backbone._supports_sdpa
    if not replaceable or backbone._is_stateful or not kinds <= _LAYERS:
        raise ValueError(
            f"packing needs a backbone of full or sliding-window attention that transformers can"
            f" exchange, got {text.model_type!r}"
        )
    if text._attn_implementation not in _REPLACED:
        raise ValueError(
            f"packing replaces attention sdpa or eager, got {text._attn_implementation!r}"
        )
    backbone.set_attn_implementation(PACKED)
