"""How probable it is, by CTC, that what was heard begins with some text.

Watanabe et al. 2017 score the hypotheses of a beam so. Per hypothesis two numbers for each frame
are enough: the probability that the frames so far spell it, with their last one a letter or a
blank. Adding a letter is a recurrence over the frames, and it is linear: two cumulative sums (of
logarithms) do it for all frames, hypotheses and letters at once.

Letters: `N` utterances, `T` frames, `V` text ids, `W` hypotheses, `C` candidates for the next id.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

_NEVER = -1e30  # a logarithm that stays finite when many are added up


@dataclass(frozen=True)
class PrefixState:
    """What frames have spelled so far, as log-probabilities `[N, W, T]`."""

    letter: Tensor  # the last of the frames is the last id
    blank: Tensor  # the last of the frames is a blank

    def take(self, row: Tensor, place: Tensor) -> PrefixState:
        """Of states `[N, W, C, T]` those of hypothesis `row` and candidate `place`, `[N, W']`."""
        which = torch.arange(len(row), device=row.device)[:, None], row, place
        return PrefixState(self.letter[which], self.blank[which])

    def of(self, utterances: Tensor) -> PrefixState:
        """Of some utterances only."""
        return PrefixState(self.letter[utterances], self.blank[utterances])


@dataclass(frozen=True)
class PrefixScorer:
    """CTC of prefixes for a batch of utterances."""

    log_probs: Tensor  # [N, T, V], padded on the right
    blank: Tensor  # [N, 1, T], that all frames so far are blank
    pause: Tensor  # [N, 1, T], that this frame is
    known: Tensor  # [N, 1, T], False at padding
    last: Tensor  # [N, 1, 1], the last frame

    @classmethod
    def hear(cls, log_probs: Tensor, lengths: Tensor, blank: int) -> PrefixScorer:
        """Take what the frames say.

        Args:
            log_probs: `[N, T, V]`, padded on the right.
            lengths: frames of each utterance, `[N]`, at least one.
            blank: the id of it.
        """
        known = torch.arange(log_probs.shape[1], device=lengths.device) < lengths[:, None]
        pause = log_probs[..., blank][:, None]
        silent = pause.cpu().double().cumsum(dim=-1)
        # float64 on the CPU, float32 on devices, which may have no other (see _recur).
        digits = torch.float64 if log_probs.device.type == "cpu" else torch.float32
        silent, pause = silent.to(log_probs.device, digits), pause.to(digits)
        return cls(log_probs, silent, pause, known[:, None], (lengths - 1)[:, None, None])

    def start(self) -> PrefixState:
        """Nothing is spelled: all frames are blank; one hypothesis for each utterance."""
        return PrefixState(torch.full_like(self.blank, _NEVER), self.blank)

    def of(self, utterances: Tensor) -> PrefixScorer:
        """Of some utterances only."""
        return PrefixScorer(
            self.log_probs[utterances],
            self.blank[utterances],
            self.pause[utterances],
            self.known[utterances],
            self.last[utterances],
        )

    def ended(self, state: PrefixState) -> Tensor:
        """Log-probability `[N, W]` that nothing follows."""
        whole = torch.logaddexp(state.letter, state.blank)
        return whole.gather(2, self.last.expand(-1, whole.shape[1], 1))[..., 0]

    def extend(
        self, state: PrefixState, last: Tensor, candidates: Tensor
    ) -> tuple[Tensor, PrefixState]:
        """Add an id to hypotheses.

        Args:
            state: of the hypotheses.
            last: their last ids `[N, W]`, -1 where there is none yet.
            candidates: ids `[N, W, C]`.

        Returns:
            Log-probabilities `[N, W, C]` that the text begins so, and states `[N, W, C, T]`.
        """
        frames = self.log_probs.shape[1]
        index = candidates.flatten(1)[..., None].expand(-1, -1, frames)
        said = self.log_probs.transpose(1, 2).gather(1, index)  # [N, W * C, T]
        said = said.view(*candidates.shape, frames).to(self.blank.dtype)
        # The same id twice needs a blank between.
        again = (candidates == last[..., None])[..., None]
        whole = torch.logaddexp(state.letter, state.blank)[:, :, None]
        before = torch.where(again, state.blank[:, :, None], whole)  # [N, W, C, T]
        first = torch.where(last < 0, 0.0, _NEVER)[:, :, None, None].expand_as(before[..., :1])
        entering = torch.cat([first.to(before), before[..., :-1]], dim=-1)  # at the frame before
        letter = _recur(entering, said)
        nothing = torch.full_like(letter[..., :1], _NEVER)
        blank = _recur(torch.cat([nothing, letter[..., :-1]], dim=-1), self.pause[:, :, None])
        begins = (entering + said).masked_fill(~self.known[:, :, None], _NEVER)
        return begins.logsumexp(dim=-1), PrefixState(letter, blank)


def _recur(entering: Tensor, x: Tensor) -> Tensor:
    """`y[t] = logaddexp(y[t-1], entering[t]) + x[t]` over the last dimension.

    Two cumulative sums take sums of hundreds of logarithms apart again, for which float32 has too
    few digits. There spans of 1, 2, 4, ... frames are joined: what was entered in a span, and what
    it costs who was there before. No large number is taken from another so.

    Args:
        entering: `[..., T]`.
        x: `[..., T]`, or one for several rows of `entering`.
    """
    if x.dtype == torch.float64:
        total = x.cumsum(dim=-1)
        before = torch.cat([torch.zeros_like(total[..., :1]), total[..., :-1]], dim=-1)
        return total + (entering - before).logcumsumexp(dim=-1)
    here, cost, span = entering + x, x, 1
    while span < here.shape[-1]:
        joined = torch.logaddexp(here[..., :-span] + cost[..., span:], here[..., span:])
        here = torch.cat([here[..., :span], joined], dim=-1)
        cost = torch.cat([cost[..., :span], cost[..., :-span] + cost[..., span:]], dim=-1)
        span *= 2
    return here
