"""PromptBatch: prompts whose targets join a decoding together.

Shapes: `N` prompts, `M` rows in the backbone (2 N with guidance: first with conditions, then
without), `K` codebooks, `D` width.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor

from .decoding_state import DecodingRow, Target
from .kv_cache import KVCache
from .prompts import Prompt, pad_left

if TYPE_CHECKING:
    from ..model import AudioLM


@dataclass(kw_only=True)
class PromptBatch:
    """Prompts with one guidance scale, their targets, and what the backbone has read of them."""

    lm: AudioLM
    prompts: list[Prompt]  # N
    targets: list[tuple[Target, list[DecodingRow]]]  # numbers of the rows: of their prompts
    unconditional: list[Prompt] | None  # N, for guidance
    adapter_names: list[str | None]  # N
    cache: str = "static"
    compiled: bool = False
    keys: KVCache | None = None  # of the prompts, when they are read
    seconds: float = 0.0  # of reading

    @property
    def num_rows(self) -> int:
        """`M`."""
        return len(self.prompts) * (2 if self.unconditional else 1)

    @property
    def num_positions(self) -> int:
        """Rows of all prompts, the measure of the work of :meth:`read`."""
        return sum(map(len, self.prompts + (self.unconditional or [])))

    def read(self) -> Tensor:
        """Read the prompts, once: hidden states `[M, D]` of their last rows."""
        if self.keys is None:
            start = time.perf_counter()
            input_ids, mask = pad_left(self.prompts + (self.unconditional or []), self.lm.config)
            keys = KVCache(
                self.lm,
                input_ids.to(self.lm.device),
                mask.to(self.lm.device),
                room=max(
                    target.layout.num_rows(row.max_new) + target.layout.num_codebooks
                    for target, rows in self.targets
                    for row in rows
                ),
                cache=self.cache,
                adapter_names=self.adapter_names * (2 if self.unconditional else 1),
                compiled=self.compiled,
            )
            self._hidden = keys.read_prompts()[:, -1]
            self.keys, self.seconds = keys, time.perf_counter() - start
        return self._hidden
