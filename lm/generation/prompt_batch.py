"""PromptBatch: prompts whose targets join a decoding together.

Shapes: `N` prompts, `M` rows in the backbone (2 N with guidance: first with conditions, then
without), `K` codebooks, `D` width.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..adapter_rows import active_name
from .decoding_state import DecodingRow, Target
from .kv_cache import KVCache
from .prompts import Prompt, pad_left

if TYPE_CHECKING:
    from ..model import AudioLM


# Rows of padding that take as long as a pass: measured with 7.5 M parameters on a CPU.
_PADDING = 40


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
    hidden: Tensor | None = None  # [M, D] of their last rows
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
        if self.hidden is None:
            read_together([self])
        assert self.hidden is not None
        return self.hidden

    @property
    def room(self) -> int:
        """Most rows after the prompts."""
        return max(
            target.layout.num_rows(row.max_new) + target.layout.num_codebooks
            for target, rows in self.targets
            for row in rows
        )

    def keys_of(self, prompts: list[Prompt], names: list[str | None]) -> tuple[KVCache, Tensor]:
        """Read prompts `[N]` with these adapters: their cache and last states `[N, D]`."""
        input_ids, mask = pad_left(prompts, self.lm.config)
        keys = KVCache(
            self.lm,
            input_ids.to(self.lm.device),
            mask.to(self.lm.device),
            room=self.room,
            cache=self.cache,
            adapter_names=names,
            compiled=self.compiled,
        )
        return keys, keys.read_prompts()[:, -1]


def _padding(batch: PromptBatch) -> int:
    """Rows of padding if prompts without conditions are read with the others."""
    longest = max(map(len, batch.prompts))
    return sum(longest - len(prompt) for prompt in batch.unconditional or [])


def read_together(batches: Sequence[PromptBatch]) -> None:
    """Read the prompts of batches of one model, in the order in which they join a decoding.

    One pass over many prompts takes less time than a pass over each. The first of batches that are
    read in one pass has the keys of all. Batches that were read before are left as they are.
    """
    for (read, _), some in itertools.groupby(batches, lambda b: (b.hidden is not None, b.cache)):
        if not read:
            _read_in_one_pass(list(some))


def _read_in_one_pass(batches: list[PromptBatch]) -> None:
    """Prompts without conditions have few rows, and are read apart if that saves much padding."""
    start = time.perf_counter()
    longest = max(batches, key=lambda batch: batch.room)
    apart = sum(map(_padding, batches)) >= _PADDING
    named = any(name is not None for batch in batches for name in batch.adapter_names)
    active = active_name(batches[0].lm) if named else None
    prompts: tuple[list[Prompt], list[Prompt]] = ([], [])  # with and without conditions
    names: tuple[list[str | None], list[str | None]] = ([], [])
    places: tuple[list[int], list[int]] = ([], [])  # in the rows of all batches
    count = 0
    for batch in batches:
        for kind, some in enumerate((batch.prompts, batch.unconditional or [])):
            part = kind if apart and not batch.compiled else 0  # of fixed shapes: nothing joins
            prompts[part].extend(some)
            names[part].extend(name or active for name in batch.adapter_names[: len(some)])
            places[part].extend(range(count, count + len(some)))
            count += len(some)
    read = [longest.keys_of(*part) for part in zip(prompts, names, strict=True) if part[0]]
    keys, hidden = read[0][0], torch.cat([states for _, states in read])
    if len(read) > 1:
        keys.join([others for others, _ in read[1:]])
    order = torch.tensor(places[0] + places[1], device=hidden.device).argsort()
    if len(read) > 1 and len(batches) > 1:
        keys.select(order)
        hidden = hidden[order]
    seconds = (time.perf_counter() - start) / len(batches)
    sizes = [batch.num_rows for batch in batches]
    for batch, states in zip(batches, hidden.split(sizes), strict=True):
        batch.hidden, batch.seconds = states, seconds
    batches[0].keys = keys
