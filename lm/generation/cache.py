"""RowCache: a key-value cache that is written in place.

The dynamic cache of transformers copies all keys and values at every step, and with its static one
every step attends over the whole buffer. Here a step writes one row and attends over the rows
written so far; only a compiled step, whose shapes are fixed, sees the whole buffer (with a mask).

Shapes: `B` batch, `H` key-value heads, `L` new rows, `P` rows of the buffer, `E` head width.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import LlamaModel
from transformers.cache_utils import Cache, CacheLayerMixin, DynamicCache

from ..config import AudioLMConfig

# Name of the cache argument of backbones, renamed in transformers 5.24.
CACHE_ARGUMENT = (
    "cache" if "cache" in inspect.signature(LlamaModel.forward).parameters else "past_key_values"
)
_FIRST_ROOM = 256  # rows after the prompt before the buffer first grows


class RowCacheLayer(CacheLayerMixin):
    """Keys and values of one layer."""

    is_sliding = False

    def __init__(self, max_length: int, whole: bool):
        super().__init__()
        self.max_length = max_length
        self.whole = whole
        self.used = 0
        self.place: Tensor | None = None  # [1] int64, row that a compiled step writes

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Allocate buffers with the shape of the first keys and values."""
        first = self.max_length if self.whole else key_states.shape[2] + _FIRST_ROOM
        self.keys = self._allocate(key_states, min(first, self.max_length))
        self.values = self._allocate(value_states, min(first, self.max_length))
        self.is_initialized = True

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Write `[B, H, L, E]`; return the keys and values to attend over, `[B, H, P, E]`."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        assert self.keys is not None and self.values is not None
        if self.place is not None:
            self.keys.index_copy_(2, self.place, key_states)
            self.values.index_copy_(2, self.place, value_states)
            return self.keys, self.values
        start, self.used = self.used, self.used + key_states.shape[2]
        if self.used > self.keys.shape[2]:
            self._grow()
        self.keys[:, :, start : self.used] = key_states
        self.values[:, :, start : self.used] = value_states
        return self.keys[:, :, : self.used], self.values[:, :, : self.used]

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Length and offset of the keys of the next rows."""
        return self.used + query_length, 0

    def get_seq_length(self) -> int:
        """Rows written so far."""
        return self.used

    def get_max_length(self) -> int:
        """Maximum number of rows."""
        return self.max_length

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keep these rows of the batch."""
        if self.keys is not None and self.values is not None:
            self.keys, self.values = self.keys[indices], self.values[indices]

    def join(self, others: Sequence[RowCacheLayer]) -> None:
        """Add the rows of other batches; all end at the same position."""
        layers = (self, *others)
        used = max(layer.used for layer in layers)
        self.max_length = used + max(layer.max_length - layer.used for layer in layers)
        for name in ("keys", "values"):
            buffers = [getattr(layer, name) for layer in layers]
            places = min(max(buffers[0].shape[2], used + _FIRST_ROOM), self.max_length)
            new = self._allocate(buffers[0], places, sum(map(len, buffers)))
            parts = new.split([len(buffer) for buffer in buffers])
            for part, buffer, layer in zip(parts, buffers, layers, strict=True):
                part[:, :, used - layer.used : used] = buffer[:, :, : layer.used]
            setattr(self, name, new)
        self.used = used

    def drop_first(self, count: int) -> None:
        """Drop the first positions."""
        assert self.keys is not None and self.values is not None
        self.keys, self.values = self.keys[:, :, count:], self.values[:, :, count:]
        self.used, self.max_length = self.used - count, self.max_length - count

    def reorder_since(self, indices: Tensor, since: int) -> None:
        """Reorder the batch, whose rows are equal before position `since`."""
        if self.keys is not None and self.values is not None:
            for buffer in (self.keys, self.values):
                written = buffer[:, :, since : self.used]
                written.copy_(written[indices])

    def _grow(self) -> None:
        """Double the buffers."""
        assert self.keys is not None and self.values is not None
        places = min(max(2 * self.keys.shape[2], self.used), self.max_length)
        if self.used > places:
            raise ValueError(f"the cache holds at most {self.max_length} rows, got row {self.used}")
        for name in ("keys", "values"):
            old = getattr(self, name)
            new = self._allocate(old, places)
            new[:, :, : old.shape[2]] = old
            setattr(self, name, new)

    @staticmethod
    def _allocate(like: Tensor, places: int, rows: int | None = None) -> Tensor:
        # Zeros: masked values are multiplied by zero, which must not give NaN.
        rows = len(like) if rows is None else rows
        return like.new_zeros(rows, like.shape[1], places, like.shape[3])


class RowCache(Cache):
    """A cache for at most `max_length` rows of a batch."""

    def __init__(self, num_layers: int, max_length: int, *, whole: bool = False):
        self.max_length = max_length
        self.whole = whole
        layers = [RowCacheLayer(max_length, whole) for _ in range(num_layers)]
        super().__init__(layers=layers)  # type: ignore[arg-type]

    def fix_shapes(self, device: torch.device) -> Tensor:
        """Return the whole buffers from now on; returns the index `[1]` of the next row."""
        place = torch.tensor([self.get_seq_length()], device=device)
        for layer in self.layers:
            layer.place = place  # type: ignore[union-attr]
        return place


def join_layer(layer: Any, others: Sequence[Any]) -> None:
    """Add the rows of other batches to a layer of a cache; all end at the same position.

    Args:
        layer: a :class:`RowCacheLayer` or a growing layer of transformers.
        others: layers of the same kind.
    """
    if isinstance(layer, RowCacheLayer):
        layer.join(others)
        return
    layers = (layer, *others)
    for name in ("keys", "values"):
        parts = [getattr(one, name) for one in layers]
        length = max(part.shape[2] for part in parts)
        padded = [F.pad(part, (0, 0, length - part.shape[2], 0)) for part in parts]
        setattr(layer, name, torch.cat(padded))
    if layer.is_sliding:
        layer.cumulative_length = max(one.cumulative_length for one in layers)


def drop_first(layer: Any, count: int) -> None:
    """Drop the first positions of a layer, of which no row has a key."""
    if isinstance(layer, RowCacheLayer):
        layer.drop_first(count)
        return
    length = layer.get_seq_length() - count
    layer.keys, layer.values = layer.keys[:, :, -length:], layer.values[:, :, -length:]
    if layer.is_sliding:
        layer.cumulative_length = length


def new_cache(config: AudioLMConfig, kind: str, max_length: int, *, whole: bool = False) -> Cache:
    """A cache for generation.

    Args:
        config: of the model.
        kind: "static" (written in place) or "dynamic" (of transformers).
        max_length: maximum number of rows.
        whole: allocate all rows at once, for a compiled step.

    Raises:
        ValueError: for another kind.
    """
    if kind == "dynamic" and not whole:
        return DynamicCache(config=config.backbone)
    if kind != "static":
        raise ValueError(
            f"cache must be 'static' or 'dynamic' ('static' if compiled), got {kind!r}"
        )
    text = config.backbone.get_text_config()  # type: ignore[union-attr]
    return RowCache(text.num_hidden_layers, max_length, whole=whole)


def attends_fully(config: AudioLMConfig) -> bool:
    """Whether all layers of the backbone have full attention, as the static cache needs."""
    text = config.backbone.get_text_config()  # type: ignore[union-attr]
    kinds = getattr(text, "layer_types", None) or ["full_attention"]
    return set(kinds) == {"full_attention"}


def shares_keys(config: AudioLMConfig) -> bool:
    """Whether the backbone has grouped-query attention."""
    text = config.backbone.get_text_config()  # type: ignore[union-attr]
    heads = text.num_attention_heads
    return bool((getattr(text, "num_key_value_heads", None) or heads) < heads)
