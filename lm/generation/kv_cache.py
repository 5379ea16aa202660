"""What the backbone has read: the prompts of a batch, and then one row after the other of each.

    prompts [M,L,1+K] -read_prompts-> hidden [M,L,D];  rows [M,1+K] -read-> hidden [M,D]

Batch rows can leave, or go on as several (`select`).

Letters: `M` rows of the batch, `L` rows of the longest prompt, `K` codebooks, `D` width.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..quantize import can_compile
from .cache import RowCache, RowCacheLayer, attends_fully, new_cache, shares_keys

if TYPE_CHECKING:
    from ..model import AudioLM


class KVCache:
    """The backbone's cache for a batch, and where each row of it may look."""

    def __init__(
        self,
        lm: AudioLM,
        input_ids: Tensor,
        mask: Tensor,
        *,
        room: int,
        cache: str,
        compiled: bool = False,
    ):
        """Make room; nothing is read yet.

        Args:
            lm: the model.
            input_ids: prompts `[M, L, 1+K]`, padded on the left.
            mask: `[M, L]`, 0 at padding.
            room: most rows that will come after the prompts.
            cache: "static" or "dynamic", see :func:`new_cache`.
            compiled: compile the step of the backbone; its shapes stay, so no row may leave.

        Raises:
            ValueError: if this backbone, or what its weights are kept as, cannot be compiled.
        """
        self._lm, self._input_ids, self._mask = lm, input_ids, mask
        config, length = lm.config, mask.shape[1] + room
        attention = config.backbone._attn_implementation  # type: ignore[union-attr]
        if compiled:
            _check_compiled(lm, attention)
        kind = cache if attends_fully(config) or cache not in ("static", "dynamic") else "dynamic"
        self._compiled = compiled
        self._cache = new_cache(config, kind, length, whole=compiled)
        # Where a later row may look: at its prompt, and at all that was written since.
        self._sight = mask.new_ones(len(mask), length, dtype=torch.bool)
        self._sight[:, : mask.shape[1]] = mask.bool()
        self._used = mask.shape[1]
        self._padded = not bool(mask.all())
        self._ready_mask = isinstance(self._cache, RowCache) and attention == "sdpa"
        # Behind a mask transformers takes the query heads that share keys for so many queries: on a
        # CPU an eighth of the time of PyTorch's own way for one row and shared keys.
        self._masked = self._ready_mask and mask.device.type == "cpu" and shares_keys(config)
        self._place: Tensor | None = None  # of the next row in a cache of one shape, [1]
        self._advance = _compiled_step(lm) if compiled else lm.advance

    def read_prompts(self) -> Tensor:
        """Hidden states `[M, L, D]` of the prompts; whatever stands at padding means nothing."""
        mask = self._mask
        positions = (mask.cumsum(dim=1) - 1).clamp_min(0)
        hidden = self._lm.advance(
            self._input_ids, mask if self._padded else None, positions, self._cache, True
        )
        self._positions = mask.sum(dim=1, keepdim=True)  # [M, 1], of the next row
        if self._compiled:
            assert isinstance(self._cache, RowCache)
            self._place = self._cache.fix_shapes(mask.device)
            self._sight[:, self._used :] = False
        return hidden

    def read(self, rows: Tensor) -> Tensor:
        """One step of the backbone: rows `[M, 1+K]` to hidden states `[M, D]`."""
        rows, self._used = rows[:, None], self._used + 1
        if self._place is not None:
            self._sight[:, self._used - 1] = True
            hidden = self._advance(
                rows, self._sight[:, None, None], self._positions, self._cache, True
            )
            self._place += 1
        else:
            mask = None
            if self._padded or self._masked:
                mask = self._sight[:, : self._used]
                mask = mask[:, None, None] if self._ready_mask else mask.long()
            hidden = self._advance(rows, mask, self._positions, self._cache, True)
        self._positions = self._positions + 1
        return hidden[:, -1]

    def select(self, index: Tensor, *, same_prompts: bool = False) -> None:
        """Go on with the rows `[M']` of the batch; one may be named several times.

        Args:
            index: of rows.
            same_prompts: each row stays, or is replaced by one of the very same prompt: then only
                what came after the prompts moves, which in a beam is the smaller part by far.
        """
        for layer in self._cache.layers:
            if same_prompts and isinstance(layer, RowCacheLayer):
                layer.reorder_since(index, self._mask.shape[1])
            else:
                layer.batch_select_indices(index)  # type: ignore[union-attr]
        self._sight, self._positions = self._sight[index], self._positions[index]
        self._padded = not bool(self._sight[:, : self._used].all())


def _check_compiled(lm: AudioLM, attention: str) -> None:
    if not (attends_fully(lm.config) and attention == "sdpa"):
        raise ValueError(
            f"compile=True needs a backbone whose layers see all rows, through 'sdpa'; this "
            f"one attends by {attention!r}"
        )
    if not can_compile(lm):
        raise ValueError(
            "compile=True and int8 weights do not go together: take int4, or leave one out"
        )


def _compiled_step(lm: AudioLM) -> Callable[..., Tensor]:
    """The backbone's step, compiled once for each model."""
    known = lm.__dict__.get("_compiled_advance")
    if known is None:
        known = torch.compile(lm.advance, dynamic=False)
        object.__setattr__(lm, "_compiled_advance", known)
    return known
