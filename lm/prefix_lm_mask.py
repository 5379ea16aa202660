"""Which rows see which, where conditions are read in both directions.

A causal model hears a recording as if it did not know how the word goes on. But a condition is
there as a whole before its target begins, so its rows may all see each other (a "prefix LM"; Liu
et al. 2018, Raffel et al. 2020; ours (D) for this kind of model). Only targets are written one row
after the other:

    [task] [rate] [open_audio] audio.. end [open_text] | text.. eos
     <------------- all of these see each other ----->   each sees what is before it

Letters: `B` batch, `L` rows, `K` codebooks.
"""

from __future__ import annotations

import torch
from torch import Tensor
from transformers.cache_utils import Cache

from .config import AudioLMConfig
from .generation.cache import attends_fully
from .vocabulary import Vocabulary

_ATTENTION = ("sdpa", "eager")  # the kinds that take a mask of their caller's


def check_prefix_lm(config: AudioLMConfig) -> None:
    """See that the backbone can read conditions in both directions, if it is to.

    Raises:
        ValueError: some of its layers see only the rows nearby.
    """
    if config.bidirectional_conditions and not attends_fully(config):
        raise ValueError(
            f"bidirectional_conditions needs a backbone whose layers see all rows; this"
            f" {config.backbone.model_type!r} has layers that see a window of them"  # type: ignore[union-attr]
        )


def prefix_lm_mask(
    input_ids: Tensor, mask: Tensor | None, config: AudioLMConfig, cache: Cache | None
) -> Tensor | None:
    """What attention is to be given for these rows in the place of their mask.

    Args:
        input_ids: rows `[B, L, 1+K]`.
        mask: `[B, L]`, 0 at padding on either side.
        config: of the model.
        cache: what was read before.

    Returns:
        `mask` itself where sight is causal; else `[B, 1, L, L]`, row by row what it sees.

    Raises:
        ValueError: rows before these were read without what these hold, or attention is of a kind
            that takes no such mask.
    """
    if not config.bidirectional_conditions or input_ids.shape[1] == 1:
        return mask
    conditions = _conditions(input_ids, config)
    if cache is not None and cache.get_seq_length() > 0:
        if not bool(conditions.any()):
            return mask  # goes on with a target
        raise ValueError(
            f"bidirectional_conditions: a prompt must be read at once, got {input_ids.shape[1]}"
            f" rows that open something after {cache.get_seq_length()} that were read before"
        )
    length = input_ids.shape[1]
    seen = conditions[:, None, :] & conditions[:, :, None]
    seen = seen | torch.ones(length, length, dtype=torch.bool, device=seen.device).tril()
    if mask is not None:
        seen = seen & mask.bool()[:, None, :]
        # Padding sees itself: of nothing at all there is no average.
        seen = seen | torch.eye(length, dtype=torch.bool, device=seen.device)
    return _as_attention_wants(seen[:, None], config)


def _conditions(input_ids: Tensor, config: AudioLMConfig) -> Tensor:
    """Rows `[B, L]` up to the last that opens a segment: behind that one the target begins."""
    vocabulary = Vocabulary(config)
    text = input_ids[..., 0]
    opening = (text == vocabulary.open_text) | (text == vocabulary.open_audio)
    return opening.flip(1).cumsum(dim=1).flip(1) > 0


def _as_attention_wants(seen: Tensor, config: AudioLMConfig) -> Tensor:
    kind = config.backbone._attn_implementation  # type: ignore[union-attr]
    if kind not in _ATTENTION:
        raise ValueError(
            f"bidirectional_conditions needs attention by {' or '.join(_ATTENTION)}; this backbone"
            f" attends by {kind!r}"
        )
    if kind == "sdpa":
        return seen
    return torch.zeros(seen.shape, device=seen.device).masked_fill(~seen, -torch.inf)
