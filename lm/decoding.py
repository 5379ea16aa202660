"""The loop of generation: one step of the backbone for each row, for a batch of any targets.

    prompts -prefill-> hidden [M,D] -writers-> rows [M,1+K] -backbone step-> hidden [M,D] -> ...

Rows that are complete leave the batch and its cache, and cost nothing from then on.

Letters: `N` live rows, `M` rows in the backbone (2 N with guidance: first all with condition, then
all without), `L` rows of the longest prompt, `K` codebooks, `D` width.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch import Tensor

from .cache import RowCache, attends_fully, new_cache, shares_keys
from .generation import GeneratedRow
from .model import AudioLM
from .prompts import Prompt, pad_left
from .quantized import can_compile
from .vocabulary import Vocabulary
from .writer import Job, Target, Writer


class _Group:
    """A writer, and the places of its rows among those of the batch."""

    def __init__(self, writer: Writer, places: list[int], total: int, guided: bool):
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
        work: list[tuple[Target, list[Job]]],
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
                Writer(target, jobs, lm.device, compiled=compiled), [job.number for job in jobs]
            )
            for target, jobs in work
        ]
        input_ids, mask = pad_left(prompts + (free or []), lm.config)
        self._input_ids, self._mask = input_ids.to(lm.device), mask.to(lm.device)
        vocabulary = Vocabulary(lm.config)
        self._empty = torch.tensor(
            [vocabulary.text_empty] + [vocabulary.audio_empty] * lm.config.num_codebooks,
            device=lm.device,
        )
        self._open_cache(cache)
        self._rows: Tensor | None = None  # [M, 1+K], what was written last

    @property
    def running(self) -> bool:
        """Whether a row is not complete."""
        return any(number not in self.finished for number in self.numbers)

    @property
    def rows(self) -> dict[int, tuple[Writer, int]]:
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
            hidden = self._read(self._rows)
        self._rows = self._write(hidden)
        if self._collect() and self.running and not self.compiled:
            self._rows = self._rows[self._drop_finished()]
        self.step_seconds += time.perf_counter() - start

    def _group(self, writer: Writer, places: list[int]) -> _Group:
        return _Group(writer, places, len(self.numbers), self._guided)

    def _open_cache(self, kind: str) -> None:
        config, mask = self.lm.config, self._mask
        longest = max(group.writer.grid.shape[1] for group in self._groups)
        length = mask.shape[1] + longest
        attention = config.backbone._attn_implementation  # type: ignore[union-attr]
        if self.compiled and not (attends_fully(config) and attention == "sdpa"):
            raise ValueError(
                f"compile=True needs a backbone whose layers see all rows, through 'sdpa'; this "
                f"one attends by {attention!r}"
            )
        if self.compiled and not can_compile(self.lm):
            raise ValueError(
                "compile=True and int8 weights do not go together: take int4, or leave one out"
            )
        kind = kind if attends_fully(config) or kind not in ("static", "dynamic") else "dynamic"
        self._cache = new_cache(config, kind, length, whole=self.compiled)
        # Where a later row may look: at its prompt, and at all that was written since.
        self._sight = mask.new_ones(len(mask), length, dtype=torch.bool)
        self._sight[:, : mask.shape[1]] = mask.bool()
        self._used = mask.shape[1]
        self._padded = not bool(mask.all())
        self._ready_mask = isinstance(self._cache, RowCache) and attention == "sdpa"
        # Behind a mask transformers takes the query heads that share keys for so many queries: on a
        # CPU an eighth of the time of PyTorch's own way for one row and shared keys.
        self._masked = self._ready_mask and mask.device.type == "cpu" and shares_keys(config)
        self._place: Tensor | None = None  # of the next row in a cache of one shape, [1]
        self._advance = _compiled(self.lm) if self.compiled else self.lm.advance

    def _prefill(self) -> Tensor:
        start = time.perf_counter()
        mask = self._mask
        positions = (mask.cumsum(dim=1) - 1).clamp_min(0)
        hidden = self.lm.advance(
            self._input_ids, mask if self._padded else None, positions, self._cache, True
        )
        self._positions = mask.sum(dim=1, keepdim=True)  # [M, 1], of the next row
        if self.compiled:
            assert isinstance(self._cache, RowCache)
            self._place = self._cache.fix_shapes(mask.device)
            self._sight[:, self._used :] = False
        self.prefill_seconds = time.perf_counter() - start
        return hidden[:, -1]

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
        index = torch.tensor(both, device=self._sight.device)
        for layer in self._cache.layers:
            layer.batch_select_indices(index)  # type: ignore[union-attr]
        self._sight, self._positions = self._sight[index], self._positions[index]
        self._padded = not bool(self._sight[:, : self._used].all())
        return index

    def _read(self, rows: Tensor) -> Tensor:
        """One step of the backbone: rows `[M, 1+K]` to hidden states `[M, D]`."""
        rows, self._used = rows[:, None], self._used + 1
        if self._place is not None:
            self._sight[:, self._used - 1] = True
            hidden = self._advance(
                rows, self._sight[:, None, None], self._positions, self._cache, True
            )
            self._place += 1
        else:
            mask = None
            if self._padded or self._masked:
                mask = self._sight[:, : self._used]
                mask = mask[:, None, None] if self._ready_mask else mask.long()
            hidden = self._advance(rows, mask, self._positions, self._cache, True)
        self._positions = self._positions + 1
        return hidden[:, -1]


def _compiled(lm: AudioLM) -> Callable[..., Tensor]:
    """The backbone's step, compiled once for each model."""
    known = lm.__dict__.get("_compiled_advance")
    if known is None:
        known = torch.compile(lm.advance, dynamic=False)
        object.__setattr__(lm, "_compiled_advance", known)
    return known
