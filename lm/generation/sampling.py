"""Sampling of ids from logits, reproducible for every row of a batch.

The argmax of `logits / temperature + Gumbel noise` is a sample of the softmax (Gumbel-max). Every
row has a generator of its own, from which each step draws the same amount, so its result depends
on its seed only, and not on the other rows of the batch.

Shapes: `N` rows, `S` streams, `W` ids that are scored.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

# Noise values that are drawn at once for a row: few calls, little memory.
_BLOCK = 1 << 17
# Guidance considers ids that are at most this factor less likely than the most likely one.
_PLAUSIBLE = 50
_PENALTY = 1e4


@dataclass(frozen=True, kw_only=True)
class SamplingConfig:
    """Sampling of one stream: the text, or the codes of one codebook.

    Example:
        >>> SamplingConfig(temperature=0.0).greedy
        True
    """

    temperature: float = 1.0  # 0 is greedy
    top_k: int = 0  # sample among the k most likely; 0: all
    top_p: float = 1.0  # sample among the most likely of this total probability
    # Odds of ids among the last `repetition_window` ones are divided by this; 1 is off.
    repetition_penalty: float = 1.0
    repetition_window: int = 25  # two seconds at 12.5 Hz

    def __post_init__(self) -> None:
        if not self.temperature >= 0:
            raise ValueError(f"temperature must be 0 or more, got {self.temperature}")
        if self.top_k < 0:
            raise ValueError(f"top_k must be 0 (all) or more, got {self.top_k}")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p must be above 0 and at most 1, got {self.top_p}")
        if not self.repetition_penalty >= 1:
            raise ValueError(
                f"repetition_penalty must be 1 (off) or more, got {self.repetition_penalty}"
            )
        if self.repetition_window < 1:
            raise ValueError(f"repetition_window must be at least 1, got {self.repetition_window}")

    @property
    def greedy(self) -> bool:
        """Whether the most likely id is always chosen."""
        return self.temperature == 0 or self.top_k == 1


AUDIO_SAMPLING = SamplingConfig(temperature=0.8, top_k=30)
TEXT_SAMPLING = SamplingConfig(temperature=0.0)
GREEDY = SamplingConfig(temperature=0.0)


def per_stream(
    sampling: SamplingConfig | Sequence[SamplingConfig], count: int
) -> tuple[SamplingConfig, ...]:
    """One configuration for each of `count` streams, from one for all or from a list.

    Raises:
        ValueError: if the list has another length.
    """
    if isinstance(sampling, SamplingConfig):
        return (sampling,) * count
    if len(sampling) != count:
        raise ValueError(f"sampling must be one SamplingConfig or {count}, got {len(sampling)}")
    return tuple(sampling)


def choose(
    logits: Tensor, config: SamplingConfig, gumbel: Tensor | None, seen: Tensor | None = None
) -> Tensor:
    """Choose ids `[N]`.

    Args:
        logits: `[N, W]` float32, -inf where an id is not allowed.
        config: of this stream.
        gumbel: noise `[N, W]`; None for a greedy stream.
        seen: `[N, W]` bool, ids with the repetition penalty.
    """
    if seen is not None:
        logits = logits - seen * torch.tensor(config.repetition_penalty).log().item()
    if config.greedy or gumbel is None:
        return logits.argmax(dim=-1)
    scores, ids = logits / config.temperature, None
    if 0 < config.top_k < scores.shape[-1]:
        scores, ids = scores.topk(config.top_k, dim=-1)
    elif config.top_p < 1:
        scores, ids = scores.sort(dim=-1, descending=True)
    if config.top_p < 1:
        share = scores.softmax(dim=-1)
        # The most likely id always stays.
        scores = scores.masked_fill(share.cumsum(dim=-1) - share >= config.top_p, -torch.inf)
    if ids is None:
        return (scores + gumbel).argmax(dim=-1)
    best = (scores + gumbel.gather(-1, ids)).argmax(dim=-1, keepdim=True)
    return ids.gather(-1, best).squeeze(-1)


def guide(conditional: Tensor, unconditional: Tensor, scale: float) -> Tensor:
    """Classifier-free guidance with a plausibility constraint: logits `[N, W]`.

    Ids that are more than `_PLAUSIBLE` times less likely than the most likely one by the
    conditional logits are ranked last (Li et al. 2022, contrastive decoding): without this, strong
    guidance misses the end of every sixth utterance.
    """
    logits = unconditional + scale * (conditional - unconditional)
    # Not -inf: if the most likely id is not allowed (an end that is too early), the order of the
    # others still matters.
    limit = conditional.amax(dim=-1, keepdim=True) - math.log(_PLAUSIBLE)
    implausible = conditional < limit
    return logits - implausible * _PENALTY


class RowNoise:
    """Gumbel noise for every row, step and stream, from one generator per row."""

    def __init__(self, seeds: Sequence[int], num_streams: int, width: int, device: torch.device):
        # On the CPU, so that seeds give the same noise on every device.
        self._generators: list[torch.Generator] = []
        self._shape = (max(1, _BLOCK // (num_streams * width)), num_streams, width)
        self._places: list[int] = []  # of the next step in the block of a row
        self._block = torch.empty(0, *self._shape, device=device)  # [N, T, S, W]
        self.join(seeds)

    def join(self, seeds: Sequence[int]) -> None:
        """Add rows."""
        self._generators += [torch.Generator().manual_seed(seed) for seed in seeds]
        self._places += [self._shape[0]] * len(seeds)
        self._block = torch.cat([self._block, self._block.new_empty(len(seeds), *self._shape)])

    def next(self) -> Tensor:
        """Noise `[N, S, W]` of the next step of every row."""
        for row, place in enumerate(self._places):
            if place == self._shape[0]:
                block = torch.empty(self._shape).exponential_(generator=self._generators[row])
                self._block[row] = block.clamp_min_(1e-30).log_().neg_()
                self._places[row] = 0
        places, self._places = self._places, [place + 1 for place in self._places]
        if len(set(places)) == 1:
            return self._block[:, places[0]]
        index = torch.tensor(places, device=self._block.device)
        return self._block[torch.arange(len(places), device=index.device), index]

    def keep(self, rows: list[int]) -> None:
        """Keep these rows only."""
        self._generators = [self._generators[row] for row in rows]
        self._places = [self._places[row] for row in rows]
        self._block = self._block[torch.tensor(rows, device=self._block.device)]
