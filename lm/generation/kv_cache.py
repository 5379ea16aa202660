"""KVCache: the backbone's key-value cache of a batch, with its masks and positions.

    prompts [M,L,1+K] -read_prompts-> hidden [M,L,D];  rows [M,1+K] -read-> hidden [M,D]

Rows of the batch can be removed, reordered and repeated (`select`), and those of another batch can
be added (`join`): all rows end at the same position of the cache, as if padded on the left.

Shapes: `M` rows of the batch, `L` rows of the longest prompt, `K` codebooks, `D` width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..adapter_rows import active_name, adapter_rows
from ..packing import SDPA
from ..quantize import can_compile
from .cache import (
    RowCache,
    RowCacheLayer,
    attends_fully,
    drop_first,
    join_layer,
    new_cache,
    shares_keys,
)

if TYPE_CHECKING:
    from ..model import AudioLM


class KVCache:
    """Reads rows with the backbone; keeps its cache, masks and positions."""

    def __init__(
        self,
        lm: AudioLM,
        input_ids: Tensor,
        mask: Tensor,
        *,
        room: int,
        cache: str,
        adapter_names: Sequence[str | None] = (),
        compiled: bool = False,
    ):
        """Allocate the cache.

        Args:
            lm: the model.
            input_ids: prompts `[M, L, 1+K]`, padded on the left.
            mask: `[M, L]`, 0 at padding.
            room: maximum number of rows after the prompts.
            cache: "static" or "dynamic", see :func:`new_cache`.
            adapter_names: one for each row; by default as outside (`adapter_rows.py`).
            compiled: compile the step of the backbone; `select` is not possible then.

        Raises:
            ValueError: if the backbone or its quantized weights cannot be compiled.
        """
        self._lm, self._input_ids, self._mask = lm, input_ids, mask
        config, length = lm.config, mask.shape[1] + room
        attention = config.backbone._attn_implementation  # type: ignore[union-attr]
        if compiled:
            _check_compiled(lm, attention)
        kind = cache if attends_fully(config) or cache not in ("static", "dynamic") else "dynamic"
        self._compiled = compiled
        self._cache = new_cache(config, kind, length, whole=compiled)
        # Key mask of later rows: the prompt without its padding, and all rows after it.
        self._key_mask = mask.new_ones(len(mask), length, dtype=torch.bool)
        self._key_mask[:, : mask.shape[1]] = mask.bool()
        self._used = self._prompt_length = mask.shape[1]
        self._padded = not bool(mask.all())
        self._ready_mask = isinstance(self._cache, RowCache) and attention in SDPA
        # With a mask, transformers handles query heads that share keys as several queries: on a
        # CPU this takes an eighth of the time of PyTorch's grouped-query attention of one row.
        self._masked = self._ready_mask and mask.device.type == "cpu" and shares_keys(config)
        self._place: Tensor | None = None  # [1], index of the next row in a cache of fixed shape
        self._adapter_names = [name for name in adapter_names if name is not None]
        self._advance = _compiled_step(lm) if compiled else self._advance_rows

    def read_prompts(self) -> Tensor:
        """Hidden states `[M, L, D]` of the prompts; those at padding are undefined."""
        mask = self._mask
        positions = (mask.cumsum(dim=1) - 1).clamp_min(0)
        hidden = self._advance_rows(
            self._input_ids, mask if self._padded else None, positions, self._cache, True
        )
        self._positions = mask.sum(dim=1, keepdim=True)  # [M, 1], of the next row
        if self._compiled:
            assert isinstance(self._cache, RowCache)
            self._place = self._cache.fix_shapes(mask.device)
            self._key_mask[:, self._used :] = False
        return hidden

    def read(self, rows: Tensor) -> Tensor:
        """One step of the backbone: rows `[M, 1+K]` to hidden states `[M, D]`."""
        rows, self._used = rows[:, None], self._used + 1
        if self._place is not None:
            self._key_mask[:, self._used - 1] = True
            hidden = self._advance(
                rows, self._key_mask[:, None, None], self._positions, self._cache, True
            )
            self._place += 1
        else:
            mask = None
            if self._padded or self._masked:
                mask = self._key_mask[:, : self._used]
                mask = mask[:, None, None] if self._ready_mask else mask.long()
            hidden = self._advance(rows, mask, self._positions, self._cache, True)
        self._positions = self._positions + 1
        return hidden[:, -1]

    def join(self, others: Sequence[KVCache]) -> None:
        """Add the rows of other batches of the model, whose prompts are read."""
        for layer, *new in zip(*(c._cache.layers for c in (self, *others)), strict=True):
            join_layer(layer, new)
        caches = (self, *others)
        used = max(cache._used for cache in caches)
        room = max(cache._key_mask.shape[1] - cache._used for cache in caches)
        masks = [
            F.pad(cache._key_mask[:, : cache._used], (used - cache._used, 0)) for cache in caches
        ]
        # Rows after this position are seen by all.
        self._key_mask = F.pad(torch.cat(masks), (0, room), value=True)
        self._padded = not bool(self._key_mask[:, :used].all())
        if any(cache._adapter_names for cache in caches):
            active = active_name(self._lm)
            names = [c._adapter_names or [active] * len(c._positions) for c in caches]
            self._adapter_names = [name for own in names for name in own]
        self._positions = torch.cat([cache._positions for cache in caches])
        self._used, self._prompt_length = used, 0  # the prompts have several lengths

    def select(self, index: Tensor, *, same_prompts: bool = False) -> None:
        """Keep the rows `index` `[M']` of the batch, in this order; rows may be repeated.

        Args:
            index: row numbers.
            same_prompts: every row is replaced by one with the same prompt, so that only keys and
                values after the prompts are copied, much fewer in beam search.
        """
        for layer in self._cache.layers:
            if same_prompts and isinstance(layer, RowCacheLayer):
                layer.reorder_since(index, self._prompt_length)
            else:
                layer.batch_select_indices(index)  # type: ignore[union-attr]
        self._key_mask, self._positions = self._key_mask[index], self._positions[index]
        if not same_prompts:
            self._drop_padding()
        self._padded = not bool(self._key_mask[:, : self._used].all())
        if self._adapter_names:
            self._adapter_names = [self._adapter_names[row] for row in index.tolist()]

    def _drop_padding(self) -> None:
        """Drop the first positions, of which no row has a key."""
        count = int(self._key_mask.any(dim=0).int().argmax())
        if count:
            for layer in self._cache.layers:
                drop_first(layer, count)
            self._key_mask, self._used = self._key_mask[:, count:], self._used - count
            self._prompt_length -= count

    def _advance_rows(self, *args: Any) -> Tensor:
        """`AudioLM.advance`, each row with its adapter."""
        with adapter_rows(self._adapter_names or None):
            return self._lm.advance(*args)


def _check_compiled(lm: AudioLM, attention: str) -> None:
    if not (attends_fully(lm.config) and attention in SDPA):
        raise ValueError(
            f"compile=True needs full attention by 'sdpa' in all layers, got {attention!r}"
        )
    if not can_compile(lm):
        raise ValueError("compile=True does not support int8 weights: use int4, or one of the two")


def _compiled_step(lm: AudioLM) -> Callable[..., Tensor]:
    """The backbone's step, compiled once for each model."""
    compiled = lm.__dict__.get("_compiled_advance")
    if compiled is None:
        compiled = torch.compile(lm.advance, dynamic=False)
        object.__setattr__(lm, "_compiled_advance", compiled)
    return compiled
