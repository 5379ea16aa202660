"""Tasks that stay as they were: what a model before said of them is the target, not the data.

A model that learns something new forgets the rest, and what it repeats of the rest it learns by
heart. So rows of such tasks are read by two models, and the new one pays for how far its
predictions are from those of the one before (learning without forgetting: Li and Hoiem 2016, after
Hinton et al. 2015), at every target and, of transcripts, at every row that is heard. What the data
say there is not asked.

Letters: `B` batch, `L` rows, `K` codebooks, `D` width, `N` positions, `W` ids that are scored.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..ctc import audio_positions
from ..loss import StreamLoss
from ..sequences import IGNORED
from ..vocabulary import Vocabulary

if TYPE_CHECKING:
    from ..model import AudioLM


@dataclass(frozen=True)
class DistillationTargets:
    """What is to be learned of a batch that has rows of both kinds."""

    data: Tensor  # [B, L, 1+K], labels of the rows that the data teach, else IGNORED
    parts: dict[str, StreamLoss]  # by stream, of the others: divergence from the teacher
    heard: StreamLoss  # the same of what is spelled where a transcript's audio is heard


class DistillationTeacher:
    """The model before, for some tasks."""

    def __init__(self, lm: AudioLM, tasks: Sequence[str]):
        """Teach.

        Args:
            lm: is only read.
            tasks: that are to stay as they are.

        Raises:
            ValueError: it knows no such task.
        """
        self.lm = lm.eval().requires_grad_(False)
        vocabulary = Vocabulary(lm.config)
        self._tasks = torch.tensor([vocabulary.task(name) for name in tasks], device=lm.device)

    def lesson(
        self,
        student: AudioLM,
        hidden: Tensor,
        input_ids: Tensor,
        labels: Tensor,
        attention_mask: Tensor | None,
        position_ids: Tensor | None,
    ) -> DistillationTargets | None:
        """What a batch teaches, by rows; None: none of them is of the tasks.

        Args:
            student: the model that learns.
            hidden: its states `[B, L, D]`.
            input_ids: `[B, L, 1+K]`.
            labels: `[B, L, 1+K]`.
            attention_mask: `[B, L]`.
            position_ids: `[B, L]`.
        """
        kept = torch.isin(input_ids[:, 0, 0], self._tasks)
        if not bool(kept.any()):
            return None
        rows, wanted = input_ids[kept], labels[kept]
        with torch.no_grad():
            known = self.lm.advance(rows, _some(attention_mask, kept), _some(position_ids, kept))
            right = self.lm.stream_logits(known[:, :-1], rows[:, 1:], wanted[:, 1:])
        hidden = hidden[kept]
        said = student.stream_logits(hidden[:, :-1], rows[:, 1:], wanted[:, 1:])
        parts = {name: divergence(said[name][0], *right[name]) for name in said}
        asked = audio_positions(rows, wanted, student.config)
        with torch.no_grad():
            spelled = self.lm.text_logits(known[asked])
        anything = torch.zeros(len(spelled), dtype=torch.int64, device=spelled.device)
        heard = divergence(student.text_logits(hidden[asked]), spelled, anything)
        return DistillationTargets(labels.masked_fill(kept[:, None, None], IGNORED), parts, heard)


def divergence(said: Tensor, right: Tensor, labels: Tensor) -> StreamLoss:
    """Kullback-Leibler divergence of predictions from a teacher's, where there is a label.

    Args:
        said: logits `[N, W]`.
        right: the teacher's, `[N, W]`.
        labels: `[N]`; only the hits are counted by them.
    """
    known = labels != IGNORED
    said, right, labels = said[known].float(), right[known].float(), labels[known]
    wanted = right.log_softmax(dim=-1)
    total = (wanted.exp() * (wanted - said.log_softmax(dim=-1))).sum()
    hits = (said.argmax(dim=-1) == labels).sum()
    return StreamLoss(total, known.sum(), hits)


def _some(tensor: Tensor | None, rows: Tensor) -> Tensor | None:
    return None if tensor is None else tensor[rows]
