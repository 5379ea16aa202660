"""The loop of generation: one step of the backbone for each row, for a batch of any targets.

    prompts -prefill-> hidden [M,D] -writers-> rows [M,1+K] -backbone step-> hidden [M,D] -> ...

Rows that are complete leave the batch and its cache, and cost nothing from then on.

Letters: `N` live rows, `M` rows in the backbone (2 N with guidance: first all with condition, then
all without), `L` rows of the longest prompt, `K` codebooks, `D` width.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..vocabulary import Vocabulary
from .decoding_state import DecodingRow, DecodingState, Target
from .kv_cache import KVCache
from .output import GeneratedRow
from .prompts import Prompt, pad_left

if TYPE_CHECKING:
    from ..model import AudioLM


class _Group:
    """A writer, and the places of its rows among those of the batch."""

    def __init__(self, writer: DecodingState, places: list[int], total: int, guided: bool):
        self.writer, self.places = writer, places
        self.all = len(places) == total
        both = places + [place + total for place in places] if guided else places
        self.index = torch.tensor(both, device=writer.device)  # [M of this group]


class Decoding:
    """A batch in generation: `step` while `running`; then `finished` holds every row.

    A compiled step keeps its shapes, so there finished rows stay and are not looked at.
    """

    def __init__(
        self,
        lm: AudioLM,
        prompts: list[Prompt],
        work: list[tuple[Target, list[DecodingRow]]],
        free: list[Prompt] | None,
        *,
        cache: str,
        compiled: bool,
    ):
        self.lm, self.prompts, self.compiled = lm, prompts, compiled
        self.numbers = list(range(len(prompts)))  # in the caller's batch, by place
        self.finished: dict[int, GeneratedRow] = {}
        self.prefill_seconds = self.step_seconds = 0.0
        self._guided = free is not None
        self._groups = [
            self._group(
                DecodingState(target, jobs, lm.device, compiled=compiled),
                [job.number for job in jobs],
            )
            for target, jobs in work
        ]
        input_ids, mask = pad_left(prompts + (free or []), lm.config)
        self._memory = KVCache(
            lm,
            input_ids.to(lm.device),
            mask.to(lm.device),
            room=max(group.writer.grid.shape[1] for group in self._groups),
            cache=cache,
            compiled=compiled,
        )
        vocabulary = Vocabulary(lm.config)
        self._empty = torch.tensor(
            [vocabulary.text_empty] + [vocabulary.audio_empty] * lm.config.num_codebooks,
            device=lm.device,
        )
        self._rows: Tensor | None = None  # [M, 1+K], what was written last

    @property
    def running(self) -> bool:
        """Whether a row is not complete."""
        return any(number not in self.finished for number in self.numbers)

    @property
    def rows(self) -> dict[int, tuple[DecodingState, int]]:
        """Writer, and row in it, of all rows that it still has, by number in the batch."""
        return {
            self.numbers[place]: (group.writer, row)
            for group in self._groups
            for row, place in enumerate(group.places)
        }

    def step(self) -> None:
        """Write one row for every target that is not complete; read the prompts first of all."""
        if self._rows is None:
            hidden, start = self._prefill(), time.perf_counter()
        else:
            # What the last step wrote is read only now: it could be heard in the meantime.
            start = time.perf_counter()
            hidden = self._memory.read(self._rows)
        self._rows = self._write(hidden)
        if self._collect() and self.running and not self.compiled:
            self._rows = self._rows[self._drop_finished()]
        self.step_seconds += time.perf_counter() - start

    def _group(self, writer: DecodingState, places: list[int]) -> _Group:
        return _Group(writer, places, len(self.numbers), self._guided)

    def _prefill(self) -> Tensor:
        start = time.perf_counter()
        hidden = self._memory.read_prompts()[:, -1]
        self.prefill_seconds = time.perf_counter() - start
        return hidden

    def _write(self, hidden: Tensor) -> Tensor:
        """The next row of every target, `[M, 1+K]`."""
        rows = self._empty.repeat(len(hidden), 1)
        for group in self._groups:
            grid = group.writer.step(hidden if group.all else hidden[group.index])
            streams = slice(0, 1) if group.writer.target.kind == "text" else slice(1, None)
            if self.compiled:  # texts that have ended stay in the batch, and write nothing
                grid = grid.where(grid >= 0, self._empty[streams])
            both = grid.repeat(2, 1) if self._guided else grid
            if group.all:
                rows[:, streams] = both
            else:
                rows[group.index, streams] = both
        return rows

    def _collect(self) -> bool:
        """Take the results of rows that are complete; whether there were any."""
        before = len(self.finished)
        for group in self._groups:
            for row in group.writer.done:
                number = self.numbers[group.places[row]]
                if number not in self.finished:
                    self.finished[number] = group.writer.result(row)
        return len(self.finished) > before

    def _drop_finished(self) -> Tensor:
        """Let complete rows leave the batch; returns the places `[M]` that stay."""
        stay = [p for p, number in enumerate(self.numbers) if number not in self.finished]
        new_place = {old: new for new, old in enumerate(stay)}
        total = len(self.numbers)
        self.numbers = [self.numbers[place] for place in stay]
        groups = []
        for group in self._groups:
            rows = [row for row, place in enumerate(group.places) if place in new_place]
            if rows:
                group.writer.keep(rows)
                groups.append(
                    self._group(group.writer, [new_place[group.places[row]] for row in rows])
                )
        self._groups = groups
        both = stay + [place + total for place in stay] if self._guided else stay
        index = torch.tensor(both, device=self.lm.device)
        self._memory.select(index)
        return index
