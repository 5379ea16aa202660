"""Decoding: the steps of a batch of any targets, one row per target and step.

    prompts -prefill-> hidden [M,D] -states-> rows [M,1+K] -backbone step-> hidden [M,D] -> ...

Finished targets leave the batch and its cache.

Shapes: `N` live targets, `M` rows in the backbone (2 N with guidance: first with conditions, then
without), `L` rows of the longest prompt, `K` codebooks, `D` width.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..adapter_rows import adapter_rows
from ..vocabulary import Vocabulary
from .decoding_state import DecodingRow, DecodingState, Target
from .kv_cache import KVCache
from .output import GeneratedRow
from .prompts import Prompt, pad_left

if TYPE_CHECKING:
    from ..model import AudioLM


class _Group:
    """Targets of one kind, and their places in the batch."""

    def __init__(self, state: DecodingState, places: list[int], total: int, guided: bool):
        self.state, self.places = state, places
        self.all = len(places) == total
        rows = places + [place + total for place in places] if guided else places
        self.index = torch.tensor(rows, device=state.device)  # [M of this group]


class Decoding:
    """A batch in generation: call `step` while `running`, then `finished` has every row.

    With a compiled step, whose shapes are fixed, finished rows stay in the batch and are ignored.
    """

    def __init__(
        self,
        lm: AudioLM,
        prompts: list[Prompt],
        targets: list[tuple[Target, list[DecodingRow]]],
        unconditional: list[Prompt] | None,
        cache: str,
        adapter_names: list[str | None],
        *,
        compiled: bool,
    ):
        self.lm, self.prompts, self.compiled = lm, prompts, compiled
        self.numbers = list(range(len(prompts)))  # index in the caller's batch, by place
        self.finished: dict[int, GeneratedRow] = {}
        self.prefill_seconds = self.step_seconds = 0.0
        self._guided = unconditional is not None
        self._groups = [
            self._group(
                DecodingState(target, rows, lm.device, compiled=compiled),
                [row.number for row in rows],
            )
            for target, rows in targets
        ]
        input_ids, mask = pad_left(prompts + (unconditional or []), lm.config)
        self._cache = KVCache(
            lm,
            input_ids.to(lm.device),
            mask.to(lm.device),
            room=max(group.state.grid.shape[1] for group in self._groups),
            cache=cache,
            adapter_names=adapter_names * (2 if unconditional else 1),
            compiled=compiled,
        )
        vocabulary = Vocabulary(lm.config)
        self._empty = torch.tensor(
            [vocabulary.text_empty] + [vocabulary.audio_empty] * lm.config.num_codebooks,
            device=lm.device,
        )
        self._rows: Tensor | None = None  # [M, 1+K], of the last step

    @property
    def running(self) -> bool:
        """Whether a target is not finished."""
        return any(number not in self.finished for number in self.numbers)

    @property
    def rows(self) -> dict[int, tuple[DecodingState, int]]:
        """State, and index in it, of the targets that are still in the batch, by their number."""
        return {
            self.numbers[place]: (group.state, row)
            for group in self._groups
            for row, place in enumerate(group.places)
        }

    def step(self) -> None:
        """Generate one row of every unfinished target; the first step also reads the prompts."""
        if self._rows is None:
            hidden, start = self._prefill(), time.perf_counter()
        else:
            # The rows of the last step are read now, so that streams yield them earlier.
            start = time.perf_counter()
            hidden = self._cache.read(self._rows)
        self._rows = self._next_rows(hidden)
        if self._collect() and self.running and not self.compiled:
            self._rows = self._rows[self._drop_finished()]
        self.step_seconds += time.perf_counter() - start

    def _group(self, state: DecodingState, places: list[int]) -> _Group:
        return _Group(state, places, len(self.numbers), self._guided)

    def _prefill(self) -> Tensor:
        start = time.perf_counter()
        hidden = self._cache.read_prompts()[:, -1]
        self.prefill_seconds = time.perf_counter() - start
        return hidden

    def _next_rows(self, hidden: Tensor) -> Tensor:
        """The next row of every target, `[M, 1+K]`."""
        rows = self._empty.repeat(len(hidden), 1)
        for group in self._groups:
            with adapter_rows(group.state.target.adapter):
                grid = group.state.step(hidden if group.all else hidden[group.index])
            streams = slice(0, 1) if group.state.target.kind == "text" else slice(1, None)
            if self.compiled:  # finished texts stay in the batch, with empty rows
                grid = grid.where(grid >= 0, self._empty[streams])
            both = grid.repeat(2, 1) if self._guided else grid
            if group.all:
                rows[:, streams] = both
            else:
                rows[group.index, streams] = both
        return rows

    def _collect(self) -> bool:
        """Store results of finished targets; returns whether there were any."""
        before = len(self.finished)
        for group in self._groups:
            for row in group.state.done:
                number = self.numbers[group.places[row]]
                if number not in self.finished:
                    self.finished[number] = group.state.result(row)
        return len(self.finished) > before

    def _drop_finished(self) -> Tensor:
        """Remove finished targets from the batch; returns the rows `[M]` that stay."""
        stay = [p for p, number in enumerate(self.numbers) if number not in self.finished]
        new_place = {old: new for new, old in enumerate(stay)}
        total = len(self.numbers)
        self.numbers = [self.numbers[place] for place in stay]
        groups = []
        for group in self._groups:
            rows = [row for row, place in enumerate(group.places) if place in new_place]
            if rows:
                group.state.keep(rows)
                groups.append(
                    self._group(group.state, [new_place[group.places[row]] for row in rows])
                )
        self._groups = groups
        rows_kept = stay + [place + total for place in stay] if self._guided else stay
        index = torch.tensor(rows_kept, device=self.lm.device)
        self._cache.select(index)
        return index
