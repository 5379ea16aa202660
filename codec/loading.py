"""How `from_pretrained` makes our models: no weight is drawn, all are read."""

from __future__ import annotations

from typing import Any

import torch
from transformers.initialization import no_init_weights


class ReadWhole:
    """A model whose weights all stand in its files; before `PreTrainedModel` among the bases."""

    @classmethod
    def get_init_context(cls, *args: Any, **kwargs: Any) -> list[Any]:
        """Transformers' contexts of loading, with memory that is left empty in place of "meta".

        Memory that nobody writes to costs nothing, and the first number that is counted or drawn on
        the meta device makes torch import its compiler and sympy: a second or two before the first
        sound. What modules draw nevertheless is not taken from the caller's random numbers.
        """
        contexts: list[Any] = super().get_init_context(*args, **kwargs)  # type: ignore[misc]
        kept = [context for context in contexts if context != torch.device("meta")]
        if len(kept) == len(contexts):  # DeepSpeed has its own way
            return contexts
        return [*kept, no_init_weights(), torch.random.fork_rng(devices=[])]
