"""How likely the model finds a given target: for retrieval, and to compare candidates.

By the same conventions as `GeneratedRow.log_probability` without guidance, so both agree for the
same row (a test holds them to it).

Letters: `B` batch, `L` rows, `N` targets, `K` codebooks, `C` codebook size.
"""

from __future__ import annotations

import math
from collections.abc import Sequence as Many
from dataclasses import dataclass

import torch
from torch import Tensor

from .inference import evaluating
from .model import AudioLM
from .sequences import IGNORED, Sequence, collate


@dataclass(frozen=True)
class Score:
    """Log-probability of one sequence's target, given its conditions."""

    text: float  # of its text ids
    audio: tuple[float, ...]  # of its codes, by codebook
    num_targets: int

    @property
    def log_probability(self) -> float:
        """Of the whole target."""
        return self.text + sum(self.audio)

    @property
    def mean(self) -> float:
        """Log-probability of a code or text id on average: compares targets of other lengths."""
        return self.log_probability / max(1, self.num_targets)

    @property
    def confidence(self) -> float:
        """Geometric mean of the probabilities, 0 to 1."""
        return math.exp(self.mean)


def score(lm: AudioLM, sequences: Many[Sequence], *, batch_size: int = 8) -> list[Score]:
    """Score the targets of sequences.

    Args:
        lm: the model.
        sequences: of `sequences.build_sequence`.
        batch_size: sequences at once; similar lengths are put together.

    Raises:
        ValueError: for no sequences or a batch size below 1.
    """
    if not sequences or batch_size < 1:
        raise ValueError(
            f"sequences and batch_size must be at least 1, got {len(sequences)} and {batch_size}"
        )
    order = sorted(range(len(sequences)), key=lambda number: len(sequences[number]))
    scores: dict[int, Score] = {}
    with evaluating(lm):
        for first in range(0, len(order), batch_size):
            numbers = order[first : first + batch_size]
            parts = _score_batch(lm, [sequences[number] for number in numbers])
            scores.update(zip(numbers, parts, strict=True))
    return [scores[number] for number in range(len(sequences))]


def _score_batch(lm: AudioLM, sequences: list[Sequence]) -> list[Score]:
    batch = {name: value.to(lm.device) for name, value in collate(sequences, lm.config).items()}
    rows, mask, labels = batch["input_ids"], batch["attention_mask"], batch["labels"][:, 1:]
    positions = (mask.cumsum(dim=1) - 1).clamp_min(0)
    hidden = lm.advance(rows, mask, positions)[:, :-1]
    known = labels != IGNORED  # [B, L-1, 1+K]
    found = torch.zeros(labels.shape, device=rows.device)
    text = known[..., 0]
    found[text] = _scatter(lm.text_logits(hidden[text]), labels[text], 0, labels.shape[-1])
    audio = known[..., 1:].any(dim=-1)
    logits = lm.heads.teacher_forced(hidden[audio], rows[:, 1:][audio][:, 1:])  # [N, K, C+1]
    for stream in range(lm.config.num_codebooks):
        # Only the first codebook says that the audio ends, as in generation.
        scored = logits[:, stream] if stream == 0 else logits[:, stream, :-1]
        found[audio] += _scatter(scored, labels[audio], 1 + stream, labels.shape[-1])
    sums = found.cpu().double().sum(dim=1).tolist()  # not every device has float64
    counts = known.sum(dim=(1, 2)).tolist()
    return [
        Score(total[0], tuple(total[1:]), count) for total, count in zip(sums, counts, strict=True)
    ]


def _scatter(logits: Tensor, labels: Tensor, stream: int, streams: int) -> Tensor:
    """Log-probabilities `[N, 1+K]` of one stream's labels; 0 elsewhere."""
    here = labels[:, stream]
    known = here != IGNORED
    likelihood = logits.float().log_softmax(dim=-1).gather(1, here.where(known, 0)[:, None])
    out = torch.zeros(len(labels), streams, device=labels.device)
    out[:, stream] = likelihood.squeeze(1).where(known, 0)
    return out
