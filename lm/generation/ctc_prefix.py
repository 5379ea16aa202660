"""CTC prefix scores: log-probabilities that the transcript of audio begins with a text.

For every hypothesis and frame there are two numbers: the probability that the frames so far are
aligned with the text, ending in its last id or in a blank (Watanabe et al. 2017). Extending a text
is a linear recurrence over the frames, computed by two cumulative sums (of logarithms) for all
frames, hypotheses and candidates at once.

Shapes: `N` utterances, `T` frames, `V` text ids, `W` hypotheses, `C` candidates for the next id.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

_LOG_ZERO = -1e30  # stays finite when many are added


@dataclass(frozen=True)
class PrefixState:
    """Log-probabilities `[N, W, T]` that the frames until `t` are aligned with the prefix."""

    label: Tensor  # frame t is the last id
    blank: Tensor  # frame t is a blank

    def gather(self, hypotheses: Tensor, candidates: Tensor) -> PrefixState:
        """Of states `[N, W, C, T]`, those of the given indices `[N, W']`."""
        rows = torch.arange(len(hypotheses), device=hypotheses.device)[:, None]
        index = rows, hypotheses, candidates
        return PrefixState(self.label[index], self.blank[index])

    def select(self, utterances: Tensor) -> PrefixState:
        """The state of some utterances."""
        return PrefixState(self.label[utterances], self.blank[utterances])


@dataclass(frozen=True)
class PrefixScorer:
    """CTC prefix scores of a batch of utterances."""

    log_probs: Tensor  # [N, T, V], padded on the right
    all_blank: Tensor  # [N, 1, T], log-probability that all frames until t are blank
    blank: Tensor  # [N, 1, T], log-probability that frame t is blank
    mask: Tensor  # [N, 1, T], False at padding
    last_frame: Tensor  # [N, 1, 1]

    @classmethod
    def from_log_probs(cls, log_probs: Tensor, lengths: Tensor, blank_id: int) -> PrefixScorer:
        """Make a scorer of CTC outputs.

        Args:
            log_probs: `[N, T, V]`, padded on the right.
            lengths: frames of each utterance, `[N]`, at least one.
            blank_id: id of the blank.
        """
        mask = torch.arange(log_probs.shape[1], device=lengths.device) < lengths[:, None]
        blank = log_probs[..., blank_id][:, None]
        all_blank = blank.cpu().double().cumsum(dim=-1)
        # float64 on the CPU, float32 on devices, which may not have float64 (see _recur).
        dtype = torch.float64 if log_probs.device.type == "cpu" else torch.float32
        all_blank, blank = all_blank.to(log_probs.device, dtype), blank.to(dtype)
        return cls(log_probs, all_blank, blank, mask[:, None], (lengths - 1)[:, None, None])

    def start(self) -> PrefixState:
        """State of the empty prefix, one hypothesis for each utterance: all frames are blank."""
        return PrefixState(torch.full_like(self.all_blank, _LOG_ZERO), self.all_blank)

    def select(self, utterances: Tensor) -> PrefixScorer:
        """The scorer of some utterances."""
        return PrefixScorer(
            self.log_probs[utterances],
            self.all_blank[utterances],
            self.blank[utterances],
            self.mask[utterances],
            self.last_frame[utterances],
        )

    def end_score(self, state: PrefixState) -> Tensor:
        """Log-probability `[N, W]` that the prefix is the whole text."""
        either = torch.logaddexp(state.label, state.blank)
        return either.gather(2, self.last_frame.expand(-1, either.shape[1], 1))[..., 0]

    def extend(
        self, state: PrefixState, last: Tensor, candidates: Tensor
    ) -> tuple[Tensor, PrefixState]:
        """Extend hypotheses by an id.

        Args:
            state: of the hypotheses.
            last: their last ids `[N, W]`, -1 for empty ones.
            candidates: ids `[N, W, C]`.

        Returns:
            Log-probabilities `[N, W, C]` of the longer prefixes, and their states `[N, W, C, T]`.
        """
        frames = self.log_probs.shape[1]
        index = candidates.flatten(1)[..., None].expand(-1, -1, frames)
        emission = self.log_probs.transpose(1, 2).gather(1, index)  # [N, W * C, T]
        emission = emission.view(*candidates.shape, frames).to(self.blank.dtype)
        # The same id twice needs a blank in between.
        repeated = (candidates == last[..., None])[..., None]
        either = torch.logaddexp(state.label, state.blank)[:, :, None]
        before = torch.where(repeated, state.blank[:, :, None], either)  # [N, W, C, T]
        first = torch.where(last < 0, 0.0, _LOG_ZERO)[:, :, None, None].expand_as(before[..., :1])
        entering = torch.cat([first.to(before), before[..., :-1]], dim=-1)  # at frame t - 1
        label = _recur(entering, emission)
        start = torch.full_like(label[..., :1], _LOG_ZERO)
        blank = _recur(torch.cat([start, label[..., :-1]], dim=-1), self.blank[:, :, None])
        score = (entering + emission).masked_fill(~self.mask[:, :, None], _LOG_ZERO)
        return score.logsumexp(dim=-1), PrefixState(label, blank)


def _recur(entering: Tensor, x: Tensor) -> Tensor:
    """`y[t] = logaddexp(y[t-1], entering[t]) + x[t]` over the last dimension.

    In float64 two cumulative sums compute it. They subtract sums of hundreds of logarithms, for
    which float32 has too few digits: there, spans of 1, 2, 4, ... frames are combined (what entered
    within a span, and the cost of passing it), without subtractions of large numbers.

    Args:
        entering: `[..., T]`.
        x: `[..., T]`, broadcast over the rows of `entering`.
    """
    if x.dtype == torch.float64:
        total = x.cumsum(dim=-1)
        before = torch.cat([torch.zeros_like(total[..., :1]), total[..., :-1]], dim=-1)
        return total + (entering - before).logcumsumexp(dim=-1)
    y, cost, span = entering + x, x, 1
    while span < y.shape[-1]:
        joined = torch.logaddexp(y[..., :-span] + cost[..., span:], y[..., span:])
        y = torch.cat([y[..., :span], joined], dim=-1)
        cost = torch.cat([cost[..., :span], cost[..., :-span] + cost[..., span:]], dim=-1)
        span *= 2
    return y
