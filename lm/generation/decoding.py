"""Decoding: the steps of a batch of any targets, one row per target and step.

    prompts -prefill-> hidden [M,D] -states-> rows [M,1+K] -backbone step-> hidden [M,D] -> ...

Finished targets leave the batch and its cache, and others can join at any step (continuous
batching). Targets that have sampling, guidance and adapter in common share a state; the backbone
reads the rows of all states in one step. A target depends on its own prompt and seed only.

Shapes: `M` rows in the backbone (of a target with guidance two, with and without its conditions),
`K` codebooks, `D` width.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ...core.runtime import threads_for
from ..adapter_rows import adapter_rows
from ..vocabulary import Vocabulary
from .decoding_state import DecodingState
from .kv_cache import KVCache
from .output import GeneratedRow
from .prompt_batch import PromptBatch, read_together
from .prompts import Prompt

if TYPE_CHECKING:
    from ..model import AudioLM


@dataclass
class _Group:
    """Targets that share a state, and their rows in the backbone."""

    state: DecodingState
    numbers: list[int]
    conditional: list[int]
    unconditional: list[int]  # empty without guidance

    @property
    def rows(self) -> list[int]:
        return self.conditional + self.unconditional

    def keep(self, rows: list[int]) -> None:
        """Keep these rows of the state."""
        self.state.keep(rows)
        self.numbers = [self.numbers[row] for row in rows]
        self.conditional = [self.conditional[row] for row in rows]
        self.unconditional = [self.unconditional[row] for row in rows if self.unconditional]

    def renumber(self, places: dict[int, int]) -> None:
        """Replace rows of the backbone by their new numbers."""
        self.conditional = [places[row] for row in self.conditional]
        self.unconditional = [places[row] for row in self.unconditional]


class Decoding:
    """A batch in generation: call `step` while `running`, then `finished` has every row.

    With a compiled step, whose shapes are fixed, finished rows stay in the batch and are ignored,
    and no targets can join after the first step. With `isolate` a target whose logits are NaN
    leaves the batch with its error in `failed`, instead of ending the step.
    """

    def __init__(self, lm: AudioLM, *, compiled: bool = False, isolate: bool = False):
        self.lm, self.compiled, self.isolate = lm, compiled, isolate
        self.prompts: dict[int, Prompt] = {}  # of the targets in the batch, by number
        self.finished: dict[int, GeneratedRow] = {}
        self.failed: dict[int, ValueError] = {}
        self.prefill_seconds = self.step_seconds = 0.0
        self._dropped: set[int] = set()
        self._groups: list[_Group] = []
        self._joining: list[PromptBatch] = []
        self._num_targets = self._num_rows = 0  # so far; in the backbone, with those that join
        self._num_weights = lm.num_parameters()
        self._cache: KVCache | None = None
        vocabulary = Vocabulary(lm.config)
        self._empty = torch.tensor(
            [vocabulary.text_empty] + [vocabulary.audio_empty] * lm.config.num_codebooks,
            device=lm.device,
        )
        self._rows: Tensor | None = None  # [M, 1+K], of the last step
        self._index: list[Tensor | None] = []  # rows of each group; None: all, in order

    @property
    def running(self) -> bool:
        """Whether a target is not finished."""
        return any(number not in self.finished for g in self._groups for number in g.numbers)

    @property
    def rows(self) -> dict[int, tuple[DecodingState, int]]:
        """State, and index in it, of the targets that are still in the batch, by their number."""
        return {
            number: (group.state, row)
            for group in self._groups
            for row, number in enumerate(group.numbers)
        }

    def join(self, batch: PromptBatch) -> list[int]:
        """Add targets, whose first row is generated at the next step; returns their numbers.

        That step reads their prompts before, unless `batch.read` was called, and all other targets
        wait meanwhile. A prompt takes about as long as its rows divided by the rows of a step.

        Raises:
            ValueError: if the step is compiled and has begun.
        """
        if self.compiled and self._num_targets:
            raise ValueError("no targets can join a decoding with compile=True")
        first, total, count = self._num_targets, self._num_rows, len(batch.prompts)
        for target, rows in batch.targets:
            group = next((g for g in self._groups if g.state.target.key == target.key), None)
            if group is None:
                state = DecodingState(target, rows, self.lm.device, compiled=self.compiled)
                group = _Group(state, [], [], [])
                self._groups.append(group)
            else:
                group.state.join(rows)
            group.numbers += [first + row.number for row in rows]
            group.conditional += [total + row.number for row in rows]
            if batch.unconditional:
                group.unconditional += [total + count + row.number for row in rows]
        self.prompts |= enumerate(batch.prompts, first)
        self._num_targets, self._num_rows = first + count, total + batch.num_rows
        self._joining.append(batch)
        self._update_index()
        return list(range(first, first + count))

    def drop(self, numbers: Iterable[int]) -> None:
        """Remove targets at the next step; they have no result."""
        self._dropped |= {*numbers}

    def step(self) -> None:
        """Generate one row of every unfinished target; reads the prompts of those that join.

        Raises:
            ValueError: for logits that are NaN, without `isolate`.
        """
        joining, self._joining = self._joining, []
        unread = [batch for batch in joining if batch.hidden is None]
        read_together(joining)
        first_states = [batch.read() for batch in joining]
        self.prefill_seconds += sum(batch.seconds for batch in unread)
        start = time.perf_counter()
        with self.threads():
            self._step(joining, first_states)
        self.step_seconds += time.perf_counter() - start

    def threads(self) -> AbstractContextManager[None]:
        """Few threads while the batch is small; a compiled step has those it was compiled for."""
        if self.compiled:
            return nullcontext()
        return threads_for(self._num_rows * self._num_weights, self.lm.device)

    def _step(self, joining: list[PromptBatch], first_states: list[Tensor]) -> None:
        # The rows of the last step are read now, so that streams yield them earlier.
        read = [] if self._cache is None or self._rows is None else [self._cache.read(self._rows)]
        if joining:
            caches = [batch.keys for batch in joining if batch.keys is not None]
            if self._cache is None:
                self._cache = caches.pop(0)
            if caches:
                self._cache.join(caches)
        self._rows = self._next_rows(torch.cat(read + first_states))
        if self._collect() and not self.compiled:
            self._remove_finished()

    def _next_rows(self, hidden: Tensor) -> Tensor:
        """The next row of every target, `[M, 1+K]`."""
        rows = self._empty.repeat(len(hidden), 1)
        for group, index in zip(self._groups, self._index, strict=True):
            target = group.state.target
            with adapter_rows(target.adapter):
                grid = group.state.step(hidden if index is None else hidden[index])
            streams = slice(0, 1) if target.kind == "text" else slice(1, None)
            if self.compiled:  # finished texts stay in the batch, with empty rows
                grid = grid.where(grid >= 0, self._empty[streams])
            both = grid.repeat(2, 1) if target.guided else grid
            if index is None:
                rows[:, streams] = both
            else:
                rows[index, streams] = both
        return rows

    def _collect(self) -> bool:
        """Store results of finished targets; returns whether targets leave the batch."""
        leave = bool(self._dropped)
        for group in self._groups:
            for row in group.state.done:
                number = group.numbers[row]
                if number in self.finished or number in self._dropped:
                    continue
                leave = True
                try:
                    self.finished[number] = group.state.result(row)
                except ValueError as error:
                    if not self.isolate:
                        raise
                    self.failed[number] = error
        return leave

    def _remove_finished(self) -> None:
        """Remove finished, failed and dropped targets from the batch."""
        gone = self.finished.keys() | self.failed.keys() | self._dropped
        self._dropped = set()
        groups, self._groups = self._groups, []
        for group in groups:
            stay = [row for row, number in enumerate(group.numbers) if number not in gone]
            if stay:
                self._groups.append(group)
            if 0 < len(stay) < len(group.numbers):
                group.keep(stay)
        left = {number for group in self._groups for number in group.numbers}
        self.prompts = {number: self.prompts[number] for number in left}
        kept = sorted(row for group in self._groups for row in group.rows)
        if len(kept) == self._num_rows:
            return
        self._num_rows = len(kept)
        if not kept:
            self._cache = self._rows = None
        elif self._cache is not None and self._rows is not None:
            index = torch.tensor(kept, device=self.lm.device)
            self._cache.select(index)
            self._rows = self._rows[index]
        places = {old: new for new, old in enumerate(kept)}
        for group in self._groups:
            group.renumber(places)
        self._update_index()

    def _update_index(self) -> None:
        everything = list(range(self._num_rows))
        self._index = [
            None if group.rows == everything else torch.tensor(group.rows, device=self.lm.device)
            for group in self._groups
        ]
