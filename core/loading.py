"""Faster `from_pretrained`: weights are read from files without initialising them first."""

from __future__ import annotations

from typing import Any

import torch
from transformers.initialization import no_init_weights


class LoadsAllWeights:
    """Mixin of models whose files contain all weights; precedes `PreTrainedModel` in the bases."""

    @classmethod
    def get_init_context(cls, *args: Any, **kwargs: Any) -> list[Any]:
        """Return transformers' contexts for loading, with empty CPU tensors instead of "meta".

        Some operations on the meta device make torch import its compiler and sympy, which takes one
        or two seconds. The random state of the caller does not change.
        """
        contexts: list[Any] = super().get_init_context(*args, **kwargs)  # type: ignore[misc]
        others = [context for context in contexts if context != torch.device("meta")]
        if len(others) == len(contexts):  # DeepSpeed
            return contexts
        return [*others, no_init_weights(), torch.random.fork_rng(devices=[])]
