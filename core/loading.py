"""Faster `from_pretrained` of our models: no weight is initialised, all are read from files."""

from __future__ import annotations

from typing import Any

import torch
from transformers.initialization import no_init_weights


class LoadsAllWeights:
    """Mixin of models whose files hold every weight; put it before `PreTrainedModel`."""

    @classmethod
    def get_init_context(cls, *args: Any, **kwargs: Any) -> list[Any]:
        """Return transformers' contexts for loading, with empty CPU memory instead of "meta".

        Some operations on the meta device make torch import its compiler and sympy, which takes a
        second or two. Empty memory costs nothing. The caller's random state does not change.
        """
        contexts: list[Any] = super().get_init_context(*args, **kwargs)  # type: ignore[misc]
        kept = [context for context in contexts if context != torch.device("meta")]
        if len(kept) == len(contexts):  # DeepSpeed has its own way
            return contexts
        return [*kept, no_init_weights(), torch.random.fork_rng(devices=[])]
