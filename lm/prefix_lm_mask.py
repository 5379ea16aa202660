"""Attention mask of a prefix LM: bidirectional over the conditions, causal over the target.

In a causal model, a frame of a recording attends to earlier frames only. But the conditions are
complete before the target begins, so their rows may all attend to each other (Liu et al. 2018,
Raffel et al. 2020; ours (D) for this kind of model):

    [task] [rate] [open_audio] audio.. end [open_text] | text.. eos
     <------------- bidirectional -------------------->   causal

Shapes: `B` batch, `L` rows, `K` codebooks.
"""

from __future__ import annotations

import torch
from torch import Tensor
from transformers.cache_utils import Cache

from .config import AudioLMConfig
from .generation.cache import attends_fully
from .packing import PACKED, Packing
from .vocabulary import Vocabulary

_ATTENTION = ("sdpa", "eager", PACKED)  # implementations that accept a 4D mask


def check_prefix_lm(config: AudioLMConfig) -> None:
    """Check that the backbone supports `bidirectional_conditions`, if they are on.

    Raises:
        ValueError: some of its layers have sliding-window attention.
    """
    if config.bidirectional_conditions and not attends_fully(config):
        raise ValueError(
            f"bidirectional_conditions needs full attention in all layers, got sliding windows in"
            f" {config.backbone.model_type!r}"  # type: ignore[union-attr]
        )


def prefix_lm_mask(
    input_ids: Tensor, mask: Tensor | None, config: AudioLMConfig, cache: Cache | None
) -> Tensor | None:
    """The attention mask of rows.

    Args:
        input_ids: rows `[B, L, 1+K]`.
        mask: `[B, L]`, 0 at padding on either side.
        config: of the model.
        cache: of earlier rows.

    Returns:
        `mask` if attention is causal, else a mask `[B, 1, L, L]`.

    Raises:
        ValueError: a prompt is split over several calls, or the attention implementation does not
            support such a mask.
    """
    if not config.bidirectional_conditions or input_ids.shape[1] == 1:
        return mask
    conditions = _conditions(input_ids, config)
    if cache is not None and cache.get_seq_length() > 0:
        if not bool(conditions.any()):
            return mask  # rows of a target
        raise ValueError(
            f"with bidirectional_conditions a prompt must be read at once, got {input_ids.shape[1]}"
            f" rows with conditions after {cache.get_seq_length()} earlier rows"
        )
    length = input_ids.shape[1]
    seen = conditions[:, None, :] & conditions[:, :, None]
    seen = seen | torch.ones(length, length, dtype=torch.bool, device=seen.device).tril()
    if mask is not None:
        seen = seen & mask.bool()[:, None, :]
        # Padding attends to itself: softmax over nothing would be NaN.
        seen = seen | torch.eye(length, dtype=torch.bool, device=seen.device)
    return _to_implementation(seen[:, None], config)


def packed_conditions(input_ids: Tensor, packing: Packing, config: AudioLMConfig) -> Tensor | None:
    """Rows `[T]` of a packed row `[1, T, 1+K]` that attend in both directions; None: none do."""
    if not config.bidirectional_conditions:
        return None
    runs = packing.split_runs(input_ids[0], 0)  # [c, L, 1+K] each
    return torch.cat([_conditions(run, config).flatten() for run in runs])


def _conditions(input_ids: Tensor, config: AudioLMConfig) -> Tensor:
    """Mask `[B, L]` of rows up to the last opening, after which the target begins."""
    vocabulary = Vocabulary(config)
    text = input_ids[..., 0]
    opening = (text == vocabulary.open_text) | (text == vocabulary.open_audio)
    return opening.flip(1).cumsum(dim=1).flip(1) > 0


def _to_implementation(seen: Tensor, config: AudioLMConfig) -> Tensor:
    kind = config.backbone._attn_implementation  # type: ignore[union-attr]
    if kind not in _ATTENTION:
        raise ValueError(
            f"bidirectional_conditions needs attention {' or '.join(_ATTENTION[:2])}, got {kind!r}"
        )
    if kind != "eager":
        return seen
    return torch.zeros(seen.shape, device=seen.device).masked_fill(~seen, -torch.inf)
