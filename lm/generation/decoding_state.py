"""The targets of some rows of a batch while they are written: audio frames, or text.

Text is the simplest layout there is: one stream, one id a row, and an end. So one writer serves
both. All its rows are written in step; what a row writes depends on nothing but its own prompt and
seed.

Letters: `N` rows, `S` streams, `W` ids that are scored, `D` width of the backbone, `M` hidden
states: N, or 2 N with guidance (first those with condition, then those without).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from ..heads import Choose
from ..patterns import Layout
from .output import Finish, GeneratedRow
from .prompts import Kind
from .sampling import RowNoise, SamplingConfig, choose, guide
from .stopping_criteria import RepetitionDetector

_NEVER = 1 << 40
# (hidden [M, D], choose, streams) -> rows [M, S]: `AudioHeads.sample`, or the text head.
SampleRow = Callable[[Tensor, Choose, Sequence[int]], Tensor]


@dataclass(frozen=True, kw_only=True)
class DecodingRow:
    """What one row is to be."""

    number: int  # in the caller's batch
    prefix: Tensor  # [p, S], the target's beginning
    min_new: int  # frames or ids
    max_new: int
    limit: Finish  # what the maximum is: "max_length" or "max_positions"
    seed: int
    frames_per_query: int


@dataclass(frozen=True, kw_only=True)
class Target:
    """What all rows of a writer have in common."""

    kind: Kind
    layout: Layout
    sample: SampleRow
    width: int  # W of the first stream
    sampling: tuple[SamplingConfig, ...]  # one for each stream
    forbidden: Tensor | None = None  # ids of the first stream that are never chosen
    guidance_scale: float = 1.0
    repetition_limit: int = 0
    repetition_period: int = 1

    @property
    def guided(self) -> bool:
        """Whether every row has a second one without its conditions."""
        return self.guidance_scale != 1


@dataclass(frozen=True)
class Draw:
    """What one step chose."""

    grid: Tensor  # [N, S], before anything is known of ends
    picked_end: Tensor  # [N] bool, the model's own choice was the end
    log_probability: Tensor  # [N, S] of the choices, 0 where there was none
    held_back: Tensor | None  # [N] bool, the end was likeliest but too early; None: it never is


def draw(
    target: Target,
    hidden: Tensor,
    streams: Sequence[int],
    gumbel: Tensor | None,
    too_early: Tensor | None,
    must_end: Tensor | None,
    seen: Sequence[Tensor | None],
) -> Draw:
    """Choose one row for each hidden state `[M, D]`: tensors in, tensors out.

    Args:
        target: which head, and how to sample.
        hidden: `[M, D]`.
        streams: that hold something in this row.
        gumbel: `[N, S, W]`, None where all is greedy.
        too_early: `[N]` bool, rows that may not end yet; None: all may.
        must_end: `[N]` bool, rows that may not go on; None: all may.
        seen: by stream, `[N, W]` bool for the repetition penalty.
    """
    end = target.layout.end
    count = len(hidden) // 2 if target.guided else len(hidden)
    picked_end = torch.zeros(count, dtype=torch.bool, device=hidden.device)
    held_back: Tensor | None = None
    likelihoods = [hidden.new_zeros(count, dtype=torch.float32)] * target.layout.num_codebooks

    def pick(stream: int, logits: Tensor) -> Tensor:
        nonlocal picked_end, held_back
        logits = logits.float()
        if target.guided:
            logits = guide(logits[:count], logits[count:], target.guidance_scale)
        allowed = logits
        if stream:
            allowed = logits = logits[:, :end]  # only the first stream says that the audio ends
        elif target.forbidden is not None:
            allowed = logits.index_fill(1, target.forbidden, -torch.inf)
        if stream == 0 and too_early is not None:
            held_back = (allowed.argmax(dim=-1) == end) & too_early
            allowed = allowed.clone()
            allowed[:, end].masked_fill_(too_early, -torch.inf)
        config = target.sampling[stream]
        noise = None if gumbel is None else gumbel[:, stream, : allowed.shape[1]]
        marks = seen[stream]
        ids = choose(allowed, config, noise, None if marks is None else marks[:, : logits.shape[1]])
        if stream == 0:
            picked_end = ids == end
            if must_end is not None:
                ids = ids.masked_fill(must_end, end)
        chosen = logits.gather(1, ids[:, None]).squeeze(1)
        likelihoods[stream] = chosen - logits.logsumexp(dim=-1)
        return ids.repeat(2) if target.guided else ids

    grid = target.sample(hidden, pick, streams)[:count]
    return Draw(grid, picked_end, torch.stack(likelihoods, dim=1), held_back)


@lru_cache(maxsize=1)
def _compiled_draw() -> Callable[..., Draw]:
    """All inner steps of a row (heads, depth steps, choices) as one compiled function."""
    return torch.compile(draw, dynamic=False)


class DecodingState:
    """Rows that are being written, in step."""

    def __init__(
        self,
        target: Target,
        jobs: list[DecodingRow],
        device: torch.device,
        *,
        compiled: bool = False,
    ):
        self.target, self.jobs, self.device = target, jobs, device
        grid = target.layout
        self.step_number = 0
        self._draw = _compiled_draw() if compiled else draw
        self._offsets = [len(job.prefix) for job in jobs]  # rows of the targets that were given
        self._first = max(*self._offsets, target.repetition_period * grid.stride)
        rows = max(grid.num_rows(job.max_new) for job in jobs) + grid.num_codebooks
        shape = (len(jobs), self._first + rows, grid.num_codebooks)
        self.grid = torch.full(shape, grid.empty, device=device)
        for row, job in zip(self.grid, jobs, strict=True):
            row[self._first - len(job.prefix) : self._first] = job.prefix
        # How far a row is behind the first code of a stream; [N, S], before the first step.
        self._since = torch.tensor(self._offsets, device=device)[:, None] - torch.tensor(
            grid.shift, device=device
        )
        self._set_bounds(
            [job.min_new * grid.stride for job in jobs], [job.max_new * grid.stride for job in jobs]
        )
        self._reasons: list[Finish] = [job.limit for job in jobs]
        # Frames or ids that a row will have; without end as yet: more than any.
        self._frames = torch.full((len(jobs),), _NEVER, device=device)
        self._last_step: dict[int, int] = {}  # of the rows whose end is known
        # Of each step, summed in float64 when a row is read: not every device has it.
        self._log_probability = torch.zeros(len(jobs), rows, device=device)
        self._num_choices = torch.zeros(len(jobs), dtype=torch.int64, device=device)
        self._held_back = torch.zeros(len(jobs), dtype=torch.int64, device=device)
        greedy = all(config.greedy for config in target.sampling)
        seeds = [job.seed for job in jobs]
        self._noise = None if greedy else RowNoise(seeds, grid.num_codebooks, target.width, device)
        self._watch = (
            RepetitionDetector(
                len(jobs), target.repetition_limit, target.repetition_period, grid.stride, device
            )
            if target.repetition_limit
            else None
        )

    def step(self, hidden: Tensor) -> Tensor:
        """Write the next row after hidden states `[M, D]`; returns it, `[N, S]`."""
        number, place = self.step_number, self._first + self.step_number
        streams, alike = self._streams(number)
        out = self._draw(
            self.target,
            hidden,
            streams,
            None if self._noise is None else self._noise.at(number),
            self._earliest > number if number < self._all_may_end else None,
            self._latest <= number if number >= self._some_must_end else None,
            self._seen(place),
        )
        rows = self._end(out, number, len(streams) if alike else None)
        self.grid[:, place] = rows
        if self._watch is not None:
            self._guard(place, number)
        self.step_number += 1
        return rows

    @property
    def done(self) -> list[int]:
        """Rows that are complete."""
        return [row for row, last in self._last_step.items() if last < self.step_number]

    def frames_ready(self, row: int) -> int:
        """Frames or ids of a row of which all is known, the given beginning included."""
        grid = self.target.layout
        rows = self._offsets[row] + self.step_number
        known = (rows - 1 - max(grid.shift)) // grid.stride + 1
        return min(max(0, known), int(self._frames[row]))

    def frames(self, row: int, start: int, stop: int) -> Tensor:
        """Frames `[S, stop - start]` of a row, among those that are ready."""
        grid = self.target.layout
        first = self._first - self._offsets[row]
        places = first + torch.arange(start, stop, device=self.device) * grid.stride
        return torch.stack([self.grid[row, places + s, k] for k, s in enumerate(grid.shift)])

    def result(self, row: int) -> GeneratedRow:
        """What a complete row has become."""
        text = self.target.kind == "text"
        whole = self.frames(row, 0, int(self._frames[row])).cpu()
        likelihood = float(self._log_probability[row].cpu().double().sum())
        if likelihood != likelihood:
            raise ValueError(
                f"the model's logits for row {self.jobs[row].number} are not numbers; expected "
                f"finite ones: are its weights damaged, or its type too narrow?"
            )
        return GeneratedRow(
            kind=self.target.kind,
            codes=None if text else whole,
            ids=whole[0] if text else None,
            prefix=self._offsets[row] // self.target.layout.stride,
            finish=self._reasons[row],
            held_back=int(self._held_back[row]),
            log_probability=likelihood,
            num_choices=int(self._num_choices[row]),
            steps=self._last_step[row] + 1,
            seed=self.jobs[row].seed,
            frames_per_query=self.jobs[row].frames_per_query,
        )

    def keep(self, rows: list[int]) -> None:
        """Go on with these rows only."""
        index = torch.tensor(rows, dtype=torch.int64, device=self.device)
        self.grid, self._frames = self.grid[index], self._frames[index]
        self._since = self._since[index]
        self._log_probability = self._log_probability[index]
        self._num_choices, self._held_back = self._num_choices[index], self._held_back[index]
        self._set_bounds(self._earliest[index].tolist(), self._latest[index].tolist())
        self.jobs = [self.jobs[row] for row in rows]
        self._offsets = [self._offsets[row] for row in rows]
        self._reasons = [self._reasons[row] for row in rows]
        known = self._last_step
        self._last_step = {new: known[old] for new, old in enumerate(rows) if old in known}
        if self._noise is not None:
            self._noise.keep(rows)
        if self._watch is not None:
            self._watch.keep(index)

    def _set_bounds(self, earliest: list[int], latest: list[int]) -> None:
        """Steps from which a row may end, and at which it must; [N] each."""
        self._earliest = torch.tensor(earliest, device=self.device)
        self._latest = torch.tensor(latest, device=self.device)
        self._all_may_end = max(earliest, default=0)
        self._some_must_end = min(latest, default=_NEVER)

    def _streams(self, number: int) -> tuple[list[int], bool]:
        """Streams that hold something in this row of any target; whether in that of all."""
        grid = self.target.layout
        kinds = {grid.streams(offset + number) for offset in set(self._offsets)}
        return sorted({k for streams in kinds for k in streams}), len(kinds) == 1

    def _seen(self, place: int) -> list[Tensor | None]:
        """By stream, what its repetition penalty is for: `[N, W]` bool."""
        marks: list[Tensor | None] = []
        for stream, config in enumerate(self.target.sampling):
            if config.repetition_penalty == 1:
                marks.append(None)
                continue
            first = max(0, place - config.repetition_window * self.target.layout.stride)
            past = self.grid[:, first:place, stream]
            # One column more, for rows without an id of this stream.
            outside = (past < 0) | (past >= self.target.width)
            shape = (len(past), self.target.width + 1)
            mark = torch.zeros(shape, dtype=torch.bool, device=self.device)
            mark.scatter_(1, past.masked_fill(outside, self.target.width), True)
            marks.append(mark[:, :-1])
        return marks

    def _end(self, out: Draw, number: int, alike: int | None) -> Tensor:
        """Note which rows end with this step; empty what is behind an end: rows `[N, S]`.

        `alike` is how many streams every row has here, if all have the same.
        """
        grid = self.target.layout
        # Only rows without end can end, in rows that have the first stream.
        open_before = self._frames == _NEVER
        ends = (out.grid[:, 0] == grid.end) & open_before
        if out.held_back is not None:
            self._held_back += out.held_back & open_before
        some_end = bool(ends.any())
        if alike is not None and not some_end and not self._last_step:
            # The usual step: nothing is to be emptied.
            self._log_probability[:, number] = out.log_probability.sum(dim=1)
            self._num_choices += alike
            return out.grid
        since = self._since + number  # [N, S]
        if some_end:
            self._frames = torch.where(ends, since[:, 0] // grid.stride, self._frames)
            for row in ends.nonzero().flatten().tolist():
                tail = grid.num_rows(1) - 1 - grid.stride  # rows behind the end row
                self._last_step[row] = number + tail
                if bool(out.picked_end[row]):
                    self._reasons[row] = "end"
        frame = since // grid.stride
        on = (since >= 0) & (since % grid.stride == 0) & (frame < self._frames[:, None])
        on[:, 0] |= ends
        chosen = on.clone()
        chosen[:, 0] &= ~ends | out.picked_end  # a forced end was not chosen
        self._log_probability[:, number] = out.log_probability.where(chosen, 0).sum(dim=1)
        self._num_choices += chosen.sum(dim=1)
        return out.grid.where(on, grid.empty)

    def _guard(self, place: int, number: int) -> None:
        assert self._watch is not None
        tripped = self._watch.tripped(self.grid, place) & (self._frames == _NEVER)
        if not bool(tripped.any()):
            return
        for row in tripped.nonzero().flatten().tolist():
            if self._latest[row] > number + 1:
                self._latest[row] = number + 1
                self._reasons[row] = "repetition"
        self._some_must_end = min(self._some_must_end, number + 1)
