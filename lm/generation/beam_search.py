r"""Beam search for a transcript: what reads well and what was heard, weighed for whole texts.

    views -> hidden states of what is heard -> CTC of every prefix   \
          -> hypotheses, W for each job     -> the backbone's own     > score -> the best W go on
    nothing -> the same hypotheses          -> how likely they are   /

A model of few recordings writes likely texts and skips or repeats what it hears; its own CTC
(ctc.py) hears every word and spells badly. The sum of both is better than either (as in the hybrid
systems of Watanabe et al. 2017; ours (D) for this kind of model). A model that learned texts of no
recording is its own language model too (shallow fusion; Gulcehre et al. 2015): it is asked how
likely a text is where nothing is heard.

One recording may be given in several views, such as the codes of it when its windows begin a little
later. Errors of its codes differ from view to view, words do not: a text has to fit them all, by
the mean of what each says.

Letters: `N` live jobs, `W` hypotheses of each, `C` candidates for the next id, `V` text ids, `E`
views of each job, `T` frames heard, `K` codebooks, `D` width. Where there are several views, rows
are those of all jobs in their first view, then of all in their second.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from ..ctc import blank_id
from ..vocabulary import Vocabulary
from .ctc_prefix import PrefixScorer, PrefixState
from .kv_cache import KVCache
from .output import Finish, GeneratedRow
from .prompts import Prompt, pad_left, without_condition
from .settings import BeamSettings

if TYPE_CHECKING:
    from ..model import AudioLM

_CANDIDATES = 3  # times the beams: that many ids of each hypothesis are looked at with CTC
_MARGIN = 3.0  # a live hypothesis so much worse than the best complete one will not overtake it


@dataclass(frozen=True)
class BeamJob:
    """The transcript of one recording."""

    views: tuple[Prompt, ...]  # the prompt; or one for each view, as many in every job of a batch
    least: int  # ids
    most: int
    limit: Finish  # what it is called when it is as long as it may be
    seed: int


@dataclass(frozen=True)
class _Complete:
    """A text that has ended."""

    score: float
    ids: Tensor  # [n]
    log_probability: float  # by the backbone, with the end


@dataclass(frozen=True)
class _Live:
    """The hypotheses of the live jobs: on the CPU, in float64, but for what is heard.

    Few numbers decide which hypotheses go on; there they cost no wait for the device, and their
    sums are exact, also where a device has no float64.
    """

    ids: Tensor  # [N, W, n]
    read: Tensor  # [N, W], log-probability by the backbone
    known: Tensor  # [N, W], the same where it hears nothing; zeros if it is not asked
    heard: PrefixState  # [E N, W, T], on the device
    score: Tensor  # [N, W]

    def of(self, jobs: Tensor, views: Tensor) -> _Live:
        """Of some jobs only, whose views are these."""
        return _Live(
            self.ids[jobs],
            self.read[jobs],
            self.known[jobs],
            self.heard.of(views.to(self.heard.blank.device)),
            self.score[jobs],
        )


class BeamSearch:
    """A batch of transcripts; `run` writes them all."""

    _memory: KVCache
    _scorer: PrefixScorer
    _first: Tensor  # [E N, 1, V], logits of the first id; behind them those of nothing heard

    def __init__(
        self,
        lm: AudioLM,
        jobs: Sequence[BeamJob],
        settings: BeamSettings,
        *,
        eos_id: int,
        forbidden: Sequence[int] = (),
        cache: str = "static",
    ):
        """Read the prompts.

        Raises:
            ValueError: if the model was not trained with CTC, a prompt gives a beginning of its
                text, or nothing to hear, or jobs differ in the number of views.
        """
        if lm.config.ctc_weight <= 0:
            raise ValueError(
                "beams need a model that was trained with ctc_weight above 0: without it, texts "
                "are best written id by id (beams 1)"
            )
        self.lm, self.jobs, self.settings = lm, list(jobs), settings
        self.prefill_seconds = self.step_seconds = 0.0
        self._eos, self._blank = eos_id, blank_id(lm.config)
        self._forbidden = torch.tensor(
            [*(i for i in forbidden if i != eos_id), self._blank], device=lm.device
        )
        vocabulary = Vocabulary(lm.config)
        self._empty = torch.tensor([vocabulary.audio_empty] * lm.config.num_codebooks)
        self._complete: list[list[_Complete]] = [[] for _ in jobs]
        self._asks = settings.lm_weight > 0  # also how likely a text is where nothing is heard
        self._views = len(jobs[0].views) if jobs else 1
        if any(len(job.views) != self._views for job in jobs):
            raise ValueError(
                f"all jobs of a batch have as many views; came {[len(job.views) for job in jobs]}"
            )
        self._live, self._width = len(jobs), 1  # jobs in the memory, hypotheses of each
        self._open(vocabulary, cache)

    def run(self) -> list[GeneratedRow]:
        """One row for each job, in order."""
        start = time.perf_counter()
        live = self._begin()
        numbers = list(range(len(self.jobs)))  # of the live jobs
        logits, steps = self._first, 0
        while numbers:
            chances = self._chances(logits, live, numbers)
            self._end(chances, live, numbers)
            row, live, ids = self._grow(chances, live)
            stay = [n for n, number in enumerate(numbers) if self._goes_on(number, live, n)]
            if not stay:
                break
            index = torch.tensor(stay)
            views = self._in_every_view(index, len(numbers))
            numbers = [numbers[n] for n in stay]
            live, self._scorer = live.of(index, views), self._scorer.of(views.to(logits.device))
            logits, steps = self._read(row[index], index, ids[index]), steps + 1
        self.step_seconds = time.perf_counter() - start
        return [self._result(number, steps) for number in range(len(self.jobs))]

    # ------------------------------------------------------------------ parts of a step

    def _open(self, vocabulary: Vocabulary, cache: str) -> None:
        """Read the prompts: what is heard, and what could come first."""
        start = time.perf_counter()
        hearing = [job.views[e] for e in range(self._views) for job in self.jobs]
        silent = [without_condition(job.views[0], self.lm.config) for job in self.jobs]
        rows, mask = pad_left(hearing + (silent if self._asks else []), self.lm.config)
        rows, mask = rows.to(self.lm.device), mask.to(self.lm.device)
        heard = ((rows[..., 1] < vocabulary.num_codes) & mask.bool())[: len(hearing)]  # [E N, L]
        for number, prompt in enumerate(hearing):
            if prompt.kind != "text" or len(prompt.prefix) or not heard[number].any():
                raise ValueError(
                    f"beams transcribe audio from its beginning; prompt "
                    f"{number % len(self.jobs)} is for {prompt.kind}, begun with "
                    f"{len(prompt.prefix)} rows, and gives {int(heard[number].sum())} frames to "
                    f"hear"
                )
        room = 1 + max(job.most for job in self.jobs)
        self._memory = KVCache(self.lm, rows, mask, room=room, cache=cache)
        hidden = self._memory.read_prompts()  # [E N, L, D]; where nothing is heard, N more rows
        own = zip(hidden[: len(heard)], heard, strict=True)
        states = pad_sequence([h[frames] for h, frames in own], True)
        spelled = self.lm.text_logits(states).float().log_softmax(dim=-1)
        self._scorer = PrefixScorer.hear(spelled, heard.sum(dim=1), self._blank)
        self._first = self.lm.text_logits(hidden[:, -1])[:, None]  # [E N, 1, V], or N more
        self.prefill_seconds = time.perf_counter() - start

    def _begin(self) -> _Live:
        count = len(self.jobs)
        nothing = torch.zeros(count, 1, dtype=torch.float64)
        ids = torch.zeros(count, 1, 0, dtype=torch.int64)
        return _Live(ids, nothing, nothing, self._scorer.start(), nothing)

    def _chances(self, logits: Tensor, live: _Live, numbers: list[int]) -> Tensor:
        """Log-probabilities `[N, W, V]` of the next id, the impossible ones excluded.

        And where it hears nothing, if it is asked: `[2N, W, V]`. Logits: `[E N, W, V]`, or N more.
        """
        logits = logits.float().index_fill(-1, self._forbidden, -torch.inf)
        length = live.ids.shape[2]
        early = torch.tensor([length < self.jobs[number].least for number in numbers])
        blocks = self._views + self._asks
        logits[early.repeat(blocks).to(logits.device), :, self._eos] = -torch.inf
        chances = logits.log_softmax(dim=-1)
        if self._views == 1:
            return chances
        hearing = self._mean_of_views(chances[: self._views * len(numbers)])
        return torch.cat([hearing, chances[self._views * len(numbers) :]])

    def _mean_of_views(self, values: Tensor) -> Tensor:
        """Mean `[N, ...]` over the views of `[E N, ...]`."""
        return values if self._views == 1 else values.unflatten(0, (self._views, -1)).mean(dim=0)

    def _in_every_view(self, jobs: Tensor, count: int) -> Tensor:
        """Rows of some of `count` jobs in all their views."""
        return torch.cat([jobs + view * count for view in range(self._views)])

    def _end(self, chances: Tensor, live: _Live, numbers: list[int]) -> None:
        """Let every hypothesis end here; the best of them are kept."""
        count, (read, known) = len(numbers), (live.read, live.known)
        end = chances[..., self._eos].cpu()  # [N, W], or 2N
        read = read + end[:count]
        if self._asks:
            known = known + end[count:]
        ended = self._mean_of_views(self._scorer.ended(live.heard).cpu().double())
        score = self._score(read.clamp_min(-1e30), known, ended)
        score = score + self.settings.bonus * live.ids.shape[2]
        for n, number in enumerate(numbers):
            kept = self._complete[number]
            for w in range(live.ids.shape[1]):
                if read[n, w] > -torch.inf:
                    kept.append(_Complete(float(score[n, w]), live.ids[n, w], float(read[n, w])))
            kept.sort(key=lambda one: -one.score)
            del kept[self.settings.beams :]

    def _grow(self, chances: Tensor, live: _Live) -> tuple[Tensor, _Live, Tensor]:
        """The best longer hypotheses: whom each goes on from `[N, W]`, they, their last ids."""
        settings, (count, width, _) = self.settings, live.ids.shape
        size = chances.shape[2]
        chances[..., self._eos] = -torch.inf
        best = chances[:count].topk(min(size, _CANDIDATES * settings.beams), dim=-1)
        last = live.ids[..., -1] if live.ids.shape[2] else live.ids.new_full((count, width), -1)
        last = last.to(chances.device)
        many = self._views
        begins, states = self._scorer.extend(
            live.heard, last.repeat(many, 1), best.indices.repeat(many, 1, 1)
        )
        read = live.read[..., None] + best.values.cpu()  # [N, W, C]
        known = live.known[..., None].expand_as(read)
        if self._asks:
            known = known + chances[count:].gather(-1, best.indices).cpu()
        score = self._score(read, known, self._mean_of_views(begins.cpu().double()))
        score = score + settings.bonus * (live.ids.shape[2] + 1)
        score = score.masked_fill(read == -torch.inf, -torch.inf).flatten(1)
        top = score.topk(min(settings.beams, score.shape[1]), dim=1)
        row, place = top.indices // best.values.shape[2], top.indices % best.values.shape[2]
        which = torch.arange(count)[:, None], row, place
        ids = best.indices.cpu()[which]  # [N, W]
        longer = torch.cat([live.ids[which[:2]], ids[..., None]], dim=-1)
        there = [one.repeat(many, 1).to(chances.device) for one in (row, place)]
        heard = states.take(*there)
        grown = _Live(longer, read[which], known[which], heard, top.values)
        return row, grown, ids

    def _score(self, read: Tensor, known: Tensor, heard: Tensor) -> Tensor:
        """What the backbone, the backbone that hears nothing, and CTC say, weighed."""
        share = self.settings.ctc_share
        return (1 - share) * read + share * heard + self.settings.lm_weight * known

    def _goes_on(self, number: int, live: _Live, n: int) -> bool:
        """Whether a longer text of this job may still be the best."""
        complete = self._complete[number]
        if live.ids.shape[2] > self.jobs[number].most:
            return False
        best = float(live.score[n].max())
        return not complete or best > complete[0].score - _MARGIN

    def _read(self, row: Tensor, jobs: Tensor, ids: Tensor) -> Tensor:
        """Read the ids `[N, W]` after the hypotheses they go on from; logits `[E N, W, V]`.

        And where it hears nothing, if it is asked, N more.
        """
        chosen = (jobs[:, None] * self._width + row).flatten()
        blocks = self._views + self._asks  # the same hypotheses in each
        size = self._live * self._width
        every = torch.cat([chosen + block * size for block in range(blocks)]).to(self.lm.device)
        self._memory.select(every, same_prompts=ids.shape == (self._live, self._width))
        self._live, self._width = len(jobs), row.shape[1]
        ids = ids.repeat(blocks, 1).to(self.lm.device)
        audio = self._empty.to(ids.device).expand(ids.numel(), -1)
        hidden = self._memory.read(torch.cat([ids.reshape(-1, 1), audio], dim=1))
        return self.lm.text_logits(hidden).view(*ids.shape, -1)

    def _result(self, number: int, steps: int) -> GeneratedRow:
        job, best = self.jobs[number], self._complete[number][0]
        return GeneratedRow(
            kind="text",
            codes=None,
            ids=best.ids,
            prefix=0,
            finish="end" if len(best.ids) < job.most else job.limit,
            held_back=0,
            log_probability=best.log_probability,
            num_choices=len(best.ids) + 1,
            steps=steps,
            seed=job.seed,
            frames_per_query=job.views[0].frames_per_query,
        )
