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

_NEVER = -1e30  # a logarithm that stays finite when one of it is taken away


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
        # Sums of hundreds of logarithms are taken apart again: more digits than usual.
        silent = log_probs[..., blank].double().cumsum(dim=1)
        return cls(log_probs, silent[:, None], known[:, None], (lengths - 1)[:, None, None])

    def start(self) -> PrefixState:
        """Nothing is spelled: all frames are blank; one hypothesis for each utterance."""
        return PrefixState(torch.full_like(self.blank, _NEVER), self.blank)

    def of(self, utterances: Tensor) -> PrefixScorer:
        """Of some utterances only."""
        return PrefixScorer(
            self.log_probs[utterances],
            self.blank[utterances],
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
        said = said.view(*candidates.shape, frames).double()
        # The same id twice needs a blank between.
        again = (candidates == last[..., None])[..., None]
        whole = torch.logaddexp(state.letter, state.blank)[:, :, None]
        before = torch.where(again, state.blank[:, :, None], whole)  # [N, W, C, T]
        first = torch.where(last < 0, 0.0, _NEVER)[:, :, None, None].expand_as(before[..., :1])
        entering = torch.cat([first.to(before), before[..., :-1]], dim=-1)  # at the frame before
        letter = _recur(entering, said.cumsum(dim=-1))
        nothing = torch.full_like(letter[..., :1], _NEVER)
        blank = _recur(torch.cat([nothing, letter[..., :-1]], dim=-1), self.blank[:, :, None])
        begins = (entering + said).masked_fill(~self.known[:, :, None], _NEVER)
        return begins.logsumexp(dim=-1), PrefixState(letter, blank)


def _recur(entering: Tensor, total: Tensor) -> Tensor:
    """`y[t] = logaddexp(y[t-1], entering[t]) + x[t]` over the last dimension.

    Args:
        entering: `[..., T]`.
        total: cumulative sum of `x`, `[..., T]`.
    """
    before = torch.cat([torch.zeros_like(total[..., :1]), total[..., :-1]], dim=-1)
    return total + (entering - before).logcumsumexp(dim=-1)
