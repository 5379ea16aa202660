r"""Beam search for transcripts, by the backbone and CTC (as in Watanabe et al. 2017).

    views -> hidden states of the audio -> CTC score of every prefix  \
          -> W hypotheses of each job   -> score of the backbone       > score -> the best W stay
    no audio -> the same hypotheses     -> score of the text alone    /

A model trained on few recordings generates likely texts and skips or repeats what was said; its CTC
scores (ctc.py) have every word but bad spelling. The sum of both is better than either (ours (D)
for this kind of model). A model that was also trained on texts without audio is its own language
model (shallow fusion; Gulcehre et al. 2015): hypotheses are also scored without the audio.

A recording may have several views, such as its codes with shifted codec windows. Errors of the
codes differ between views and words do not, so scores are averaged over the views.

Shapes: `N` live jobs, `W` hypotheses of each, `C` candidates for the next id, `V` text ids, `E`
views of each job, `T` frames of audio, `K` codebooks, `D` width. With several views, the rows of a
batch are those of all jobs in their first view, then of all in their second.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from ..loss import blank_id
from ..vocabulary import Vocabulary
from .ctc_prefix import PrefixScorer, PrefixState
from .kv_cache import KVCache
from .output import Finish, GeneratedRow
from .prompts import Prompt, pad_left, without_condition
from .settings import BeamSettings

if TYPE_CHECKING:
    from ..model import AudioLM

_CANDIDATES = 3  # ids of each hypothesis that are scored with CTC, as a multiple of the beams
_MARGIN = 3.0  # hypotheses worse than the best finished one by more than this are dropped


@dataclass(frozen=True)
class BeamJob:
    """A recording to transcribe."""

    views: tuple[Prompt, ...]  # a prompt for each view; equally many in all jobs of a batch
    min_ids: int
    max_ids: int
    limit: Finish  # reported for a transcript of max_ids
    seed: int


@dataclass(frozen=True)
class _Finished:
    """A finished hypothesis."""

    score: float
    ids: Tensor  # [n]
    log_probability: float  # of the backbone, including the end


@dataclass(frozen=True)
class _Hypotheses:
    """The hypotheses of the live jobs, on the CPU in float64 except for the CTC state.

    These few numbers decide which hypotheses stay: on the CPU they need no synchronization with the
    device, and float64 exists on every machine.
    """

    ids: Tensor  # [N, W, n]
    lm_score: Tensor  # [N, W], log-probability of the backbone
    prior_score: Tensor  # [N, W], the same without the audio; zeros if it is not used
    ctc: PrefixState  # [E N, W, T], on the device
    score: Tensor  # [N, W]

    def select(self, jobs: Tensor, views: Tensor) -> _Hypotheses:
        """Those of some jobs, whose rows in all views are `views`."""
        return _Hypotheses(
            self.ids[jobs],
            self.lm_score[jobs],
            self.prior_score[jobs],
            self.ctc.select(views.to(self.ctc.blank.device)),
            self.score[jobs],
        )


class BeamSearch:
    """Transcribes a batch of recordings by beam search; see :meth:`run`."""

    _cache: KVCache
    _scorer: PrefixScorer
    _first: Tensor  # [E N, 1, V], logits of the first id; then N more without the audio

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
            ValueError: if the model was not trained with CTC, a prompt has no audio or a prefix of
                its text, or jobs differ in the number of views.
        """
        if lm.config.ctc_weight <= 0:
            raise ValueError(
                f"beam search needs a model trained with ctc_weight > 0, got {lm.config.ctc_weight}"
                f" (set beams to 1)"
            )
        self.lm, self.jobs, self.settings = lm, list(jobs), settings
        self.prefill_seconds = self.step_seconds = 0.0
        self._eos, self._blank = eos_id, blank_id(lm.config)
        blank = [self._blank] if self._blank < lm.config.vocab_size else []
        self._forbidden = torch.tensor(
            [*(i for i in forbidden if i != eos_id), *blank], dtype=torch.int64, device=lm.device
        )
        vocabulary = Vocabulary(lm.config)
        self._empty = torch.tensor([vocabulary.audio_empty] * lm.config.num_codebooks)
        self._finished: list[list[_Finished]] = [[] for _ in jobs]
        self._use_prior = settings.lm_weight > 0
        self._num_views = len(jobs[0].views) if jobs else 1
        if any(len(job.views) != self._num_views for job in jobs):
            counts = [len(job.views) for job in jobs]
            raise ValueError(f"all jobs must have the same number of views, got {counts}")
        self._num_live, self._width = len(jobs), 1  # jobs in the cache, hypotheses of each
        self._prefill(vocabulary, cache)

    def run(self) -> list[GeneratedRow]:
        """Return a row for each job, in order."""
        start = time.perf_counter()
        hypotheses = self._start()
        numbers = list(range(len(self.jobs)))  # of the live jobs
        logits, steps = self._first, 0
        while numbers:
            log_probs = self._log_probs(logits, hypotheses, numbers)
            self._finish(log_probs, hypotheses, numbers)
            parents, hypotheses, ids = self._extend(log_probs, hypotheses)
            live = [n for n, number in enumerate(numbers) if self._is_live(number, hypotheses, n)]
            if not live:
                break
            index = torch.tensor(live)
            views = self._rows_in_views(index, len(numbers))
            numbers = [numbers[n] for n in live]
            hypotheses = hypotheses.select(index, views)
            self._scorer = self._scorer.select(views.to(logits.device))
            logits, steps = self._step(parents[index], index, ids[index]), steps + 1
        self.step_seconds = time.perf_counter() - start
        return [self._result(number, steps) for number in range(len(self.jobs))]

    # ------------------------------------------------------------------ parts of a step

    def _prefill(self, vocabulary: Vocabulary, cache: str) -> None:
        """Read the prompts and initialise the CTC scores and the logits of the first id."""
        start = time.perf_counter()
        prompts = [job.views[e] for e in range(self._num_views) for job in self.jobs]
        silent = [without_condition(job.views[0], self.lm.config) for job in self.jobs]
        rows, mask = pad_left(prompts + (silent if self._use_prior else []), self.lm.config)
        rows, mask = rows.to(self.lm.device), mask.to(self.lm.device)
        is_audio = (rows[..., 1] < vocabulary.num_codes) & mask.bool()
        is_audio = is_audio[: len(prompts)]  # [E N, L]
        for number, prompt in enumerate(prompts):
            if prompt.kind != "text" or len(prompt.prefix) or not is_audio[number].any():
                raise ValueError(
                    f"prompt {number % len(self.jobs)} of a beam search must have audio and an"
                    f" empty text target, got {int(is_audio[number].sum())} frames and a"
                    f" {prompt.kind} target of {len(prompt.prefix)} rows"
                )
        room = 1 + max(job.max_ids for job in self.jobs)
        self._cache = KVCache(self.lm, rows, mask, room=room, cache=cache)
        hidden = self._cache.read_prompts()  # [E N, L, D], and N more rows without the audio
        pairs = zip(hidden[: len(is_audio)], is_audio, strict=True)
        states = pad_sequence([state[frames] for state, frames in pairs], True)
        log_probs = self.lm.ctc_logits(states).float().log_softmax(dim=-1)
        self._scorer = PrefixScorer.from_log_probs(log_probs, is_audio.sum(dim=1), self._blank)
        self._first = self.lm.text_logits(hidden[:, -1])[:, None]
        self.prefill_seconds = time.perf_counter() - start

    def _start(self) -> _Hypotheses:
        count = len(self.jobs)
        zeros = torch.zeros(count, 1, dtype=torch.float64)
        ids = torch.zeros(count, 1, 0, dtype=torch.int64)
        return _Hypotheses(ids, zeros, zeros, self._scorer.start(), zeros)

    def _log_probs(self, logits: Tensor, hypotheses: _Hypotheses, numbers: list[int]) -> Tensor:
        """Log-probabilities `[N, W, V]` of the next id, averaged over the views.

        With the prior `[2N, W, V]`, the second half without the audio. Logits are `[E N, W, V]`,
        with the prior N more. Forbidden ids have -inf.
        """
        logits = logits.float().index_fill(-1, self._forbidden, -torch.inf)
        length = hypotheses.ids.shape[2]
        too_early = torch.tensor([length < self.jobs[number].min_ids for number in numbers])
        blocks = self._num_views + self._use_prior
        logits[too_early.repeat(blocks).to(logits.device), :, self._eos] = -torch.inf
        log_probs = logits.log_softmax(dim=-1)
        if self._num_views == 1:
            return log_probs
        rows = self._num_views * len(numbers)
        return torch.cat([self._mean_of_views(log_probs[:rows]), log_probs[rows:]])

    def _mean_of_views(self, values: Tensor) -> Tensor:
        """Mean `[N, ...]` over the views of `[E N, ...]`."""
        if self._num_views == 1:
            return values
        return values.unflatten(0, (self._num_views, -1)).mean(dim=0)

    def _rows_in_views(self, jobs: Tensor, count: int) -> Tensor:
        """Rows of some of `count` jobs in all their views."""
        return torch.cat([jobs + view * count for view in range(self._num_views)])

    def _finish(self, log_probs: Tensor, hypotheses: _Hypotheses, numbers: list[int]) -> None:
        """End a copy of every hypothesis here; keep the best finished ones of each job."""
        count = len(numbers)
        end = log_probs[..., self._eos].cpu()  # [N, W], with the prior [2N, W]
        lm_score, prior_score = hypotheses.lm_score + end[:count], hypotheses.prior_score
        if self._use_prior:
            prior_score = prior_score + end[count:]
        ctc_score = self._mean_of_views(self._scorer.end_score(hypotheses.ctc).cpu().double())
        score = self._score(lm_score.clamp_min(-1e30), prior_score, ctc_score)
        score = score + self.settings.bonus * hypotheses.ids.shape[2]
        for n, number in enumerate(numbers):
            finished = self._finished[number]
            for w in range(hypotheses.ids.shape[1]):
                if lm_score[n, w] > -torch.inf:
                    ids, log_probability = hypotheses.ids[n, w], float(lm_score[n, w])
                    finished.append(_Finished(float(score[n, w]), ids, log_probability))
            finished.sort(key=lambda hypothesis: -hypothesis.score)
            del finished[self.settings.beams :]

    def _extend(
        self, log_probs: Tensor, hypotheses: _Hypotheses
    ) -> tuple[Tensor, _Hypotheses, Tensor]:
        """Extend by one id: indices of the parents `[N, W]`, the hypotheses, their last ids."""
        settings, (count, width, length) = self.settings, hypotheses.ids.shape
        log_probs[..., self._eos] = -torch.inf
        num_candidates = min(log_probs.shape[2], _CANDIDATES * settings.beams)
        best = log_probs[:count].topk(num_candidates, dim=-1)
        ids = hypotheses.ids
        last = ids[..., -1] if length else ids.new_full((count, width), -1)
        last = last.to(log_probs.device)
        views = self._num_views
        ctc_score, states = self._scorer.extend(
            hypotheses.ctc, last.repeat(views, 1), best.indices.repeat(views, 1, 1)
        )
        lm_score = hypotheses.lm_score[..., None] + best.values.cpu()  # [N, W, C]
        prior_score = hypotheses.prior_score[..., None].expand_as(lm_score)
        if self._use_prior:
            prior_score = prior_score + log_probs[count:].gather(-1, best.indices).cpu()
        ctc_score = self._mean_of_views(ctc_score.cpu().double())
        score = self._score(lm_score, prior_score, ctc_score) + settings.bonus * (length + 1)
        score = score.masked_fill(lm_score == -torch.inf, -torch.inf).flatten(1)
        top = score.topk(min(settings.beams, score.shape[1]), dim=1)
        parents, candidates = top.indices // num_candidates, top.indices % num_candidates
        index = torch.arange(count)[:, None], parents, candidates
        new_ids = best.indices.cpu()[index]  # [N, W]
        on_device = [x.repeat(views, 1).to(log_probs.device) for x in (parents, candidates)]
        extended = _Hypotheses(
            torch.cat([ids[index[:2]], new_ids[..., None]], dim=-1),
            lm_score[index],
            prior_score[index],
            states.gather(*on_device),
            top.values,
        )
        return parents, extended, new_ids

    def _score(self, lm_score: Tensor, prior_score: Tensor, ctc_score: Tensor) -> Tensor:
        """Weighted sum of the scores of the backbone, of the prior and of CTC."""
        share = self.settings.ctc_share
        return (1 - share) * lm_score + share * ctc_score + self.settings.lm_weight * prior_score

    def _is_live(self, number: int, hypotheses: _Hypotheses, n: int) -> bool:
        """Whether a longer text of this job may still be the best."""
        finished = self._finished[number]
        if hypotheses.ids.shape[2] > self.jobs[number].max_ids:
            return False
        return not finished or float(hypotheses.score[n].max()) > finished[0].score - _MARGIN

    def _step(self, parents: Tensor, jobs: Tensor, ids: Tensor) -> Tensor:
        """Logits `[E N, W, V]` after ids `[N, W]`, with the prior N more."""
        chosen = (jobs[:, None] * self._width + parents).flatten()
        blocks = self._num_views + self._use_prior  # the same hypotheses in each
        size = self._num_live * self._width
        rows = torch.cat([chosen + block * size for block in range(blocks)]).to(self.lm.device)
        self._cache.select(rows, same_prompts=ids.shape == (self._num_live, self._width))
        self._num_live, self._width = len(jobs), parents.shape[1]
        ids = ids.repeat(blocks, 1).to(self.lm.device)
        audio = self._empty.to(ids.device).expand(ids.numel(), -1)
        hidden = self._cache.read(torch.cat([ids.reshape(-1, 1), audio], dim=1))
        return self.lm.text_logits(hidden).view(*ids.shape, -1)

    def _result(self, number: int, steps: int) -> GeneratedRow:
        job, best = self.jobs[number], self._finished[number][0]
        return GeneratedRow(
            kind="text",
            codes=None,
            ids=best.ids,
            prefix=0,
            finish="end" if len(best.ids) < job.max_ids else job.limit,
            held_back=0,
            log_probability=best.log_probability,
            num_choices=len(best.ids) + 1,
            steps=steps,
            seed=job.seed,
            frames_per_query=job.views[0].frames_per_query,
        )
