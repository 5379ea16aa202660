"""Attention within each example of a packed row, as an attention implementation of transformers.

On a CPU neighbours of one length are a batch of `scaled_dot_product_attention`: nothing is padded,
and an example of L rows costs L x L however long the row is. On CUDA the row is one call of
FlexAttention, whose block mask has only those blocks that examples touch. Without a packing this is
`sdpa` of transformers.

Shapes: `H` heads, `T` rows of all examples, `L` rows of one, `c` examples of a run, `E` head width.
"""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention.flex_attention import BlockMask, flex_attention
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask
from transformers.models.llama.modeling_llama import eager_attention_forward

from .packing import PACKED, Packing

# Up to this length plain operations train faster than the fused kernel in bfloat16 on a CPU, and
# their attention weights are small.
_PLAIN_ROWS = 512
_BLOCK = 128  # rows of a block of FlexAttention


def packed_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    packing: Packing | None = None,
    dropout: float = 0.0,
    scaling: float | None = None,
    sliding_window: int | None = None,
    **options: Any,
) -> tuple[Tensor, None]:
    """Attention of transformers' layers over a packed row.

    Args:
        module: the attention layer.
        query: `[1, H, T, E]`.
        key: `[1, H', T, E]`.
        value: `[1, H', T, E]`.
        attention_mask: read without a packing only.
        packing: examples of the row; None: a padded batch, as for `sdpa`.
        dropout: of attention weights.
        scaling: of scores.
        sliding_window: rows that a row attends to, itself included; None: all before it.
        options: of other implementations.

    Returns:
        `[1, T, H, E]`, and None for the attention weights.

    Raises:
        ValueError: the layer was not given the packing of a packed row.
    """
    if packing is None:
        _refuse_lost_packing(module, query, attention_mask)
        window = {"sliding_window": sliding_window}
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout, scaling, **window, **options
        )
    if _flex_is_usable(query, dropout):
        blocks = block_mask(packing, sliding_window)
        return flex_packed(query, key, value, blocks, scaling, _compiled()), None
    parts = [packing.split_runs(x[0], 1) for x in (query, key, value)]  # [H, c, L, E] each
    outputs = []
    for number, states in enumerate(zip(*parts, strict=True)):
        run = [x.transpose(0, 1) for x in states]  # [c, H, L, E]
        if _prefers_plain(run[2]):
            mask = run_mask(packing, number, sliding_window, additive=True)
            out, _ = eager_attention_forward(module, *run, mask, scaling=scaling, dropout=dropout)
        else:
            mask = run_mask(packing, number, sliding_window)
            out, _ = sdpa_attention_forward(module, *run, mask, dropout, scaling, **options)
        outputs.append(out.flatten(0, 1))
    return torch.cat(outputs)[None], None


def packed_mask(device: torch.device) -> Tensor:
    """What stands for the attention mask of a packed row: `[1, 1, 1, 1]`.

    From a mask of four dimensions transformers makes no other: it would make one of T x T.
    """
    return torch.ones(1, 1, 1, 1, dtype=torch.bool, device=device)


def run_mask(
    packing: Packing, number: int, window: int | None, additive: bool = False
) -> Tensor | None:
    """Mask of the examples of a run; None if it is causal and need not be made.

    Args:
        packing: of the row.
        number: of the run.
        window: rows that a row attends to.
        additive: 0 and -inf instead of True and False.

    Returns:
        `[1 or c, 1, L, L]` or None.
    """
    length = packing.runs[number][1]
    window = None if window is None or window >= length else window
    if window is None and packing.conditions is None and not additive:
        return None
    kind = ("run", number, window, additive)
    if kind not in packing.masks:
        seen = torch.ones(length, length, dtype=torch.bool, device=packing.device).tril()
        if window is not None:
            seen = seen.triu(1 - window)
        seen = seen[None, None]
        if packing.conditions is not None:
            both = packing.split_runs(packing.conditions, 0)[number]  # [c, L]
            seen = seen | (both[:, None, None, :] & both[:, None, :, None])
        if additive:
            zeros = torch.zeros(seen.shape, device=packing.device)
            seen = zeros.masked_fill(~seen, -torch.inf)
        packing.masks[kind] = seen
    return packing.masks[kind]  # type: ignore[no-any-return]


def block_mask(packing: Packing, window: int | None) -> BlockMask:
    """The mask of a packed row for FlexAttention, made without a table of T x T."""
    kind = ("blocks", window)
    if kind not in packing.masks:
        packing.masks[kind] = _block_mask(packing, window)
    return packing.masks[kind]  # type: ignore[no-any-return]


def _block_mask(packing: Packing, window: int | None) -> BlockMask:
    size = sum(packing.lengths)
    count = -(-size // _BLOCK)
    places = torch.arange(size, device=packing.device)
    starts = packing.expand(packing.starts)[0]
    ends = places  # last row that each row attends to
    if packing.conditions is not None:
        last = torch.where(packing.conditions, places, -1)
        lasts = torch.stack([part.max() for part in last.split(packing.lengths)])
        ends = torch.where(packing.conditions, packing.expand(lasts)[0], places)
    # A row of the mask attends to the blocks from that of its first row on to that of its last one.
    missing = count * _BLOCK - size
    lowest = F.pad(starts, (0, missing), value=size).view(count, _BLOCK).amin(1) // _BLOCK
    highest = F.pad(ends, (0, missing), value=0).view(count, _BLOCK).amax(1) // _BLOCK
    number = (highest - lowest + 1).to(torch.int32)
    indices = lowest[:, None] + torch.arange(count, device=packing.device)
    indices = indices.clamp_max(count - 1).to(torch.int32)
    return BlockMask.from_kv_blocks(
        number[None, None],
        indices[None, None],
        BLOCK_SIZE=_BLOCK,
        mask_mod=_mask_mod(starts, packing.conditions, window),
        seq_lengths=(size, size),
    )


def _mask_mod(starts: Tensor, conditions: Tensor | None, window: int | None) -> Callable[..., Any]:
    """Whether row q attends to row k, by the first row of the example of each."""

    def seen(batch: Tensor, head: Tensor, q: Tensor, k: Tensor) -> Tensor:
        same = starts[q] == starts[k]
        before = q >= k
        if window is not None:
            before = before & (q - k < window)
        if conditions is not None:
            before = before | (conditions[q] & conditions[k])
        return same & before

    return seen


def flex_packed(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: BlockMask,
    scaling: float | None,
    attend: Callable[..., Any] = flex_attention,
) -> Tensor:
    """FlexAttention of `[1, H, T, E]`: returns `[1, T, H, E]`."""
    query, key = query.to(value.dtype), key.to(value.dtype)  # autocast leaves them in float32
    shared = query.shape[1] != key.shape[1]
    out = attend(query, key, value, block_mask=mask, scale=scaling, enable_gqa=shared)
    return out.transpose(1, 2).contiguous()  # type: ignore[no-any-return]


@functools.cache
def _compiled() -> Callable[..., Any]:
    return torch.compile(flex_attention, dynamic=True)


def _flex_is_usable(query: Tensor, dropout: float) -> bool:
    """Whether there is a kernel: CUDA with Triton; it knows no dropout."""
    return query.is_cuda and not dropout and importlib.util.find_spec("triton") is not None


def _prefers_plain(value: Tensor) -> bool:
    short = value.shape[2] <= _PLAIN_ROWS
    return short and value.device.type == "cpu" and value.dtype != torch.float32


def _refuse_lost_packing(module: nn.Module, query: Tensor, mask: Tensor | None) -> None:
    if mask is not None and mask.shape[-2:] == (1, 1) and query.shape[2] > 1:
        raise ValueError(
            f"{type(module).__name__} does not hand the packing on to its attention: this backbone"
            " cannot be trained with packing"
        )


AttentionInterface.register(PACKED, packed_attention)
AttentionMaskInterface.register(PACKED, sdpa_mask)
