"""DecodingState: the targets of one kind in a batch while they are generated.

Text is the simplest layout: one stream, one id per row, and an end, so audio and text share this
class. All its targets advance in step, from the step at which they join on; a target depends on its
own prompt and seed only.

Shapes: `N` targets, `S` streams, `W` ids that are scored, `D` width of the backbone, `M` hidden
states: N, or 2 N with guidance (first with conditions, then without).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import torch
import torch.nn.functional as F
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
    """Limits, prefix and seed of one target."""

    number: int  # in the caller's batch
    prefix: Tensor  # [P, S]
    min_new: int  # frames or ids
    max_new: int
    limit: Finish  # reported at the maximum: "max_length" or "max_positions"
    seed: int
    frames_per_query: int


@dataclass(frozen=True, kw_only=True)
class Target:
    """What all targets of one kind have in common."""

    kind: Kind
    layout: Layout
    sample: SampleRow
    width: int  # W of the first stream
    sampling: tuple[SamplingConfig, ...]  # one for each stream
    adapter: str | None = None  # of all its rows; None: the active one
    forbidden: Tensor | None = None  # ids of the first stream that are never generated
    guidance_scale: float = 1.0
    repetition_limit: int = 0
    repetition_period: int = 1

    @property
    def guided(self) -> bool:
        """Whether there is classifier-free guidance."""
        return self.guidance_scale != 1

    @cached_property
    def key(self) -> tuple[object, ...]:
        """Equal for targets that can be generated in step."""
        forbidden = None if self.forbidden is None else tuple(self.forbidden.tolist())
        own = (self.kind, self.layout, self.adapter, self.sampling, forbidden)
        return *own, self.guidance_scale, self.repetition_limit, self.repetition_period


@dataclass(frozen=True)
class Draw:
    """The samples of one step."""

    grid: Tensor  # [N, S], not yet emptied after ends
    picked_end: Tensor  # [N] bool, the end was sampled (not forced)
    log_probability: Tensor  # [N, S] of the samples, 0 without one
    held_back: Tensor | None  # [N] bool, the end was most likely but too early; None: nowhere


def draw(
    target: Target,
    hidden: Tensor,
    streams: Sequence[int],
    gumbel: Tensor | None,
    too_early: Tensor | None,
    must_end: Tensor | None,
    seen: Sequence[Tensor | None],
) -> Draw:
    """Sample one row for each hidden state `[M, D]`; a pure function, which can be compiled.

    Args:
        target: head and sampling.
        hidden: `[M, D]`.
        streams: streams with an id in this row.
        gumbel: noise `[N, S, W]`; None if all streams are greedy.
        too_early: `[N]` bool, targets that may not end yet; None: all may.
        must_end: `[N]` bool, targets that must end now; None: none must.
        seen: by stream, `[N, W]` bool, ids with the repetition penalty.
    """
    end = target.layout.end
    count = len(hidden) // 2 if target.guided else len(hidden)
    picked_end = torch.zeros(count, dtype=torch.bool, device=hidden.device)
    held_back: Tensor | None = None
    log_probs = [hidden.new_zeros(count, dtype=torch.float32)] * target.layout.num_codebooks

    def pick(stream: int, logits: Tensor) -> Tensor:
        nonlocal picked_end, held_back
        logits = logits.float()
        if target.guided:
            logits = guide(logits[:count], logits[count:], target.guidance_scale)
        allowed = logits
        if stream:
            allowed = logits = logits[:, :end]  # only the first stream has the end
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
        log_probs[stream] = chosen - logits.logsumexp(dim=-1)
        return ids.repeat(2) if target.guided else ids

    grid = target.sample(hidden, pick, streams)[:count]
    return Draw(grid, picked_end, torch.stack(log_probs, dim=1), held_back)


@lru_cache(maxsize=1)
def _compiled_draw() -> Callable[..., Draw]:
    """Heads, depth steps and sampling of a row as one compiled function."""
    return torch.compile(draw, dynamic=False)


class DecodingState:
    """Targets that are generated in step."""

    def __init__(
        self,
        target: Target,
        rows: list[DecodingRow],
        device: torch.device,
        *,
        compiled: bool = False,
    ):
        self.target, self.device = target, device
        layout = target.layout
        self.rows: list[DecodingRow] = []
        self.step_number = 0
        self._draw = _compiled_draw() if compiled else draw
        # Rows of a target before step 0: its prefix, less the steps before it joined.
        self._offsets: list[int] = []
        self._first = 0  # column of step 0 in the grid; less than 0 if older columns are dropped
        self.grid = torch.empty(0, 0, layout.num_codebooks, dtype=torch.int64, device=device)
        self._reasons: list[Finish] = []
        # Number of frames or ids of a target; _NEVER until its end is known.
        self._frames = torch.empty(0, dtype=torch.int64, device=device)
        self._last_step: dict[int, int] = {}  # of targets whose end is known
        # By column of the grid, summed in float64 on the CPU: not every device has float64.
        self._log_probability = torch.empty(0, 0, device=device)
        self._num_choices, self._held_back = self._frames, self._frames
        self._set_bounds([], [])
        greedy = all(config.greedy for config in target.sampling)
        self._noise = None if greedy else RowNoise([], layout.num_codebooks, target.width, device)
        limit, period = target.repetition_limit, target.repetition_period
        detector = RepetitionDetector(0, limit, period, layout.stride, device)
        self._detector = detector if limit else None
        self.join(rows)

    def join(self, rows: list[DecodingRow]) -> None:
        """Add targets, whose first row is generated at the next step."""
        layout, old = self.target.layout, len(self.rows)
        self._make_room(rows)
        self.rows += rows
        self._offsets += [len(row.prefix) - self.step_number for row in rows]
        self._reasons += [row.limit for row in rows]
        # Rows since the first code of a stream, before step 0, [N, S].
        self._since = torch.tensor(self._offsets, device=self.device)[:, None] - torch.tensor(
            layout.shift, device=self.device
        )
        self._set_bounds(
            self._earliest.tolist()
            + [self.step_number + row.min_new * layout.stride for row in rows],
            self._latest.tolist()
            + [self.step_number + row.max_new * layout.stride for row in rows],
        )
        self._frames = F.pad(self._frames, (0, len(rows)), value=_NEVER)
        self._num_choices = F.pad(self._num_choices, (0, len(rows)))
        self._held_back = F.pad(self._held_back, (0, len(rows)))
        place = self._first + self.step_number
        for grid, row in zip(self.grid[old:], rows, strict=True):
            grid[place - len(row.prefix) : place] = row.prefix
        if self._noise is not None:
            self._noise.join([row.seed for row in rows])
        if self._detector is not None:
            self._detector.join(len(rows))

    def step(self, hidden: Tensor) -> Tensor:
        """Generate the next row from hidden states `[M, D]`: `[N, S]`."""
        number, place = self.step_number, self._first + self.step_number
        streams, same = self._streams(number)
        out = self._draw(
            self.target,
            hidden,
            streams,
            None if self._noise is None else self._noise.next(),
            self._earliest > number if number < self._all_may_end else None,
            self._latest <= number if number >= self._some_must_end else None,
            self._seen(place),
        )
        rows = self._apply_ends(out, place, len(streams) if same else None)
        self.grid[:, place] = rows
        if self._detector is not None:
            self._stop_repetition(place, number)
        self.step_number += 1
        return rows

    def stop(self, row: int, reason: Finish) -> None:
        """End a target at the next step."""
        self._end_at(row, self.step_number, reason)

    @property
    def done(self) -> list[int]:
        """Finished targets."""
        return [row for row, last in self._last_step.items() if last < self.step_number]

    def frames_ready(self, row: int) -> int:
        """Number of complete frames or ids of a target, including its prefix."""
        layout = self.target.layout
        rows = self._offsets[row] + self.step_number
        complete = (rows - 1 - max(layout.shift)) // layout.stride + 1
        return min(max(0, complete), int(self._frames[row]))

    def frames(self, row: int, start: int, stop: int) -> Tensor:
        """Frames `[S, stop - start]` of a target, which must be ready."""
        layout = self.target.layout
        first = self._first - self._offsets[row]
        places = first + torch.arange(start, stop, device=self.device) * layout.stride
        return torch.stack([self.grid[row, places + s, k] for k, s in enumerate(layout.shift)])

    def result(self, row: int) -> GeneratedRow:
        """The result of a finished target."""
        text = self.target.kind == "text"
        frames = self.frames(row, 0, int(self._frames[row])).cpu()
        log_probability = float(self._log_probability[row].cpu().double().sum())
        if math.isnan(log_probability):
            raise ValueError(
                f"logits of row {self.rows[row].number} must be finite, got NaN: check the weights "
                f"and their precision"
            )
        return GeneratedRow(
            kind=self.target.kind,
            codes=None if text else frames,
            ids=frames[0] if text else None,
            prefix=len(self.rows[row].prefix) // self.target.layout.stride,
            finish=self._reasons[row],
            held_back=int(self._held_back[row]),
            log_probability=log_probability,
            num_choices=int(self._num_choices[row]),
            steps=self._last_step[row] + 1 + self._offsets[row] - len(self.rows[row].prefix),
            seed=self.rows[row].seed,
            frames_per_query=self.rows[row].frames_per_query,
        )

    def keep(self, rows: list[int]) -> None:
        """Keep these targets only."""
        index = torch.tensor(rows, dtype=torch.int64, device=self.device)
        self.grid, self._frames = self.grid[index], self._frames[index]
        self._since = self._since[index]
        self._log_probability = self._log_probability[index]
        self._num_choices, self._held_back = self._num_choices[index], self._held_back[index]
        self._set_bounds(self._earliest[index].tolist(), self._latest[index].tolist())
        self.rows = [self.rows[row] for row in rows]
        self._offsets = [self._offsets[row] for row in rows]
        self._reasons = [self._reasons[row] for row in rows]
        last = self._last_step
        self._last_step = {new: last[old] for new, old in enumerate(rows) if old in last}
        if self._noise is not None:
            self._noise.keep(rows)
        if self._detector is not None:
            self._detector.keep(index)

    def _set_bounds(self, earliest: list[int], latest: list[int]) -> None:
        """Steps from which a target may end, and at which it must, `[N]` each."""
        self._earliest = torch.tensor(earliest, dtype=torch.int64, device=self.device)
        self._latest = torch.tensor(latest, dtype=torch.int64, device=self.device)
        self._all_may_end = max(earliest, default=0)
        self._some_must_end = min(latest, default=_NEVER)

    def _make_room(self, rows: list[DecodingRow]) -> None:
        """Move the grid, so that it holds these targets, too, and drop columns before all rows."""
        layout, place = self.target.layout, self._first + self.step_number
        before = max(
            self.target.repetition_period * layout.stride,
            *(len(row.prefix) for row in rows),
            *(offset + self.step_number for offset in self._offsets),
        )
        after = max(layout.num_rows(row.max_new) for row in rows) + layout.num_codebooks
        after = max(after, self.grid.shape[1] - place)
        shape = (len(self.rows) + len(rows), before + after, layout.num_codebooks)
        grid = torch.full(shape, layout.empty, device=self.device)
        log_probability = torch.zeros(shape[:2], device=self.device)
        if self.rows:
            kept = min(before, place)
            grid[: len(self.rows), before - kept : before] = self.grid[:, place - kept : place]
            past = self._log_probability[:, place - kept : place]
            log_probability[: len(self.rows), before - kept : before] = past
        self.grid, self._log_probability = grid, log_probability
        self._first = before - self.step_number

    def _streams(self, number: int) -> tuple[list[int], bool]:
        """Streams with an id in this row of any target; whether they are the same in all."""
        layout = self.target.layout
        found = {layout.streams(offset + number) for offset in set(self._offsets)}
        return sorted({k for streams in found for k in streams}), len(found) == 1

    def _seen(self, place: int) -> list[Tensor | None]:
        """By stream, the ids with a repetition penalty: `[N, W]` bool."""
        marks: list[Tensor | None] = []
        for stream, config in enumerate(self.target.sampling):
            if config.repetition_penalty == 1:
                marks.append(None)
                continue
            first = max(0, place - config.repetition_window * self.target.layout.stride)
            past = self.grid[:, first:place, stream]
            # One more column, for rows without an id of this stream.
            outside = (past < 0) | (past >= self.target.width)
            shape = (len(past), self.target.width + 1)
            mark = torch.zeros(shape, dtype=torch.bool, device=self.device)
            mark.scatter_(1, past.masked_fill(outside, self.target.width), True)
            marks.append(mark[:, :-1])
        return marks

    def _apply_ends(self, out: Draw, place: int, num_streams: int | None) -> Tensor:
        """Record which targets end in this step; returns the rows `[N, S]`, emptied after ends.

        `num_streams` is the number of streams with an id, if they are the same in all targets.
        """
        layout, number = self.target.layout, self.step_number
        # Only unfinished targets can end, in rows with an id of the first stream.
        open_before = self._frames == _NEVER
        if num_streams is None:
            open_before &= (self._since[:, 0] + number) % layout.stride == 0
        ends = (out.grid[:, 0] == layout.end) & open_before
        if out.held_back is not None:
            self._held_back += out.held_back & open_before
        some_end = bool(ends.any())
        if num_streams is not None and not some_end and not self._last_step:
            # The usual step: nothing to empty.
            self._log_probability[:, place] = out.log_probability.sum(dim=1)
            self._num_choices += num_streams
            return out.grid
        since = self._since + number  # [N, S]
        if some_end:
            self._frames = torch.where(ends, since[:, 0] // layout.stride, self._frames)
            for row in ends.nonzero().flatten().tolist():
                tail = layout.num_rows(1) - 1 - layout.stride  # rows after the end row
                self._last_step[row] = number + tail
                if bool(out.picked_end[row]):
                    self._reasons[row] = "end"
        frame = since // layout.stride
        present = (since >= 0) & (since % layout.stride == 0) & (frame < self._frames[:, None])
        present[:, 0] |= ends
        chosen = present.clone()
        chosen[:, 0] &= ~ends | out.picked_end  # a forced end was not chosen
        self._log_probability[:, place] = out.log_probability.where(chosen, 0).sum(dim=1)
        self._num_choices += chosen.sum(dim=1)
        return out.grid.where(present, layout.empty)

    def _stop_repetition(self, place: int, number: int) -> None:
        assert self._detector is not None
        tripped = self._detector.tripped(self.grid, place) & (self._frames == _NEVER)
        if not bool(tripped.any()):
            return
        for row in tripped.nonzero().flatten().tolist():
            self._end_at(row, number + 1, "repetition")

    def _end_at(self, row: int, step: int, reason: Finish) -> None:
        if self._latest[row] > step:
            self._latest[row] = step
            self._reasons[row] = reason
        self._some_must_end = min(self._some_must_end, step)
