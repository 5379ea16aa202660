"""Log-probabilities of given targets, for retrieval and to compare candidates.

They agree with `GeneratedRow.log_probability` of the same row without guidance.

Shapes: `B` batch, `L` rows, `N` targets, `K` codebooks, `C` codebook size.
"""

from __future__ import annotations

import math
from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass

import torch
from torch import Tensor

from .inference import evaluating
from .model import AudioLM
from .sequences import IGNORED, Sequence, collate


@dataclass(frozen=True)
class Score:
    """Log-probability of one sequence's target, given its conditions."""

    text: float  # of the text ids
    audio: tuple[float, ...]  # of the codes, by codebook
    num_targets: int

    @property
    def log_probability(self) -> float:
        """Log-probability of the target."""
        return self.text + sum(self.audio)

    @property
    def mean(self) -> float:
        """Mean log-probability of a code or text id, to compare targets of different lengths."""
        return self.log_probability / max(1, self.num_targets)

    @property
    def confidence(self) -> float:
        """Geometric mean of the probabilities, 0 to 1."""
        return math.exp(self.mean)


def score(lm: AudioLM, sequences: SequenceOf[Sequence], *, batch_size: int = 8) -> list[Score]:
    """Score the targets of sequences.

    Args:
        lm: the model.
        sequences: output of `sequences.build_sequence`.
        batch_size: sequences per batch; batches have sequences of similar length.

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
    is_target = labels != IGNORED  # [B, L-1, 1+K]
    found = torch.zeros(labels.shape, device=rows.device)
    text = is_target[..., 0]
    found[text] = _scatter(lm.text_logits(hidden[text]), labels[text], 0, labels.shape[-1])
    audio = is_target[..., 1:].any(dim=-1)
    logits = lm.heads.teacher_forced(hidden[audio], rows[:, 1:][audio][:, 1:])  # [N, K, C+1]
    for stream in range(lm.config.num_codebooks):
        # Only the first codebook has the end of audio, as in generation.
        scored = logits[:, stream] if stream == 0 else logits[:, stream, :-1]
        found[audio] += _scatter(scored, labels[audio], 1 + stream, labels.shape[-1])
    sums = found.cpu().double().sum(dim=1).tolist()  # not every device has float64
    counts = is_target.sum(dim=(1, 2)).tolist()
    return [
        Score(total[0], tuple(total[1:]), count) for total, count in zip(sums, counts, strict=True)
    ]


def _scatter(logits: Tensor, labels: Tensor, stream: int, streams: int) -> Tensor:
    """Log-probabilities `[N, 1+K]` of one stream's labels; 0 elsewhere."""
    ids = labels[:, stream]
    is_target = ids != IGNORED
    index = ids.where(is_target, 0)[:, None]
    log_probs = logits.float().log_softmax(dim=-1).gather(1, index)
    out = torch.zeros(len(labels), streams, device=labels.device)
    out[:, stream] = log_probs.squeeze(1).where(is_target, 0)
    return out
