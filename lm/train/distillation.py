"""Distillation: the predictions of an earlier model replace the data as targets of some tasks.

A model that learns new tasks forgets the old ones. Rows of the old tasks are therefore read by two
models, and the loss of the new one is its divergence from the earlier one (learning without
forgetting: Li and Hoiem 2016, after Hinton et al. 2015), at every target and, for transcripts, at
every row of the audio. The labels of these rows are not used.

Shapes: `B` batch, `L` rows, `K` codebooks, `D` width, `N` positions, `W` ids that are scored.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..chunked_loss import StreamLoss
from ..loss import audio_positions
from ..packing import Packing, all_rows, first_rows
from ..sequences import IGNORED
from ..targets import stream_targets
from ..vocabulary import Vocabulary

if TYPE_CHECKING:
    from ..model import AudioLM
    from ..output import AudioLMOutput


class DistillationTeacher:
    """A frozen model whose predictions are the targets of some tasks."""

    def __init__(self, lm: AudioLM, tasks: Sequence[str]):
        """Freeze the model.

        Args:
            lm: the teacher; it is put in evaluation mode and never changed.
            tasks: the tasks whose predictions are to be preserved.

        Raises:
            ValueError: the model does not know a task.
        """
        self.lm = lm.eval().requires_grad_(False)
        vocabulary = Vocabulary(lm.config)
        self._tasks = torch.tensor([vocabulary.task(name) for name in tasks], device=lm.device)

    def teaches(self, input_ids: Tensor, packing: Packing | None = None) -> Tensor:
        """Whether each example of `[B, L, 1+K]` belongs to one of its tasks: `[N]` bool."""
        return torch.isin(first_rows(input_ids, packing)[:, 0], self._tasks)


def forward_with_teacher(
    model: Callable[..., AudioLMOutput],
    student: AudioLM,
    teacher: DistillationTeacher,
    *,
    input_ids: Tensor,
    labels: Tensor,
    num_items_in_batch: Tensor | int | None = None,
    **layout: Any,
) -> AudioLMOutput:
    """Forward pass in which the teacher's predictions replace the labels of its tasks.

    Args:
        model: the student as it is called in training, e.g. wrapped for data parallelism.
        student: the model itself.
        teacher: of the tasks to preserve.
        input_ids: `[B, L, 1+K]`.
        labels: `[B, L, 1+K]`; for the teacher's tasks only their positions matter.
        num_items_in_batch: divides the summed loss, see :meth:`AudioLM.forward`.
        layout: `attention_mask` or `document_lengths` of :meth:`AudioLM.forward`.

    Returns:
        The output of the student; its losses are cross-entropies for rows of other tasks, and
        divergences from the teacher for rows of the teacher's.
    """
    lengths, mask = layout.get("document_lengths"), layout.get("attention_mask")
    packing = None if lengths is None else teacher.lm.pack(lengths, input_ids)
    taught = teacher.teaches(input_ids, packing)  # [N]
    if not bool(taught.any()):
        return model(
            input_ids=input_ids, labels=labels, num_items_in_batch=num_items_in_batch, **layout
        )
    rows = all_rows(taught, packing)  # [B, 1] or [1, T]
    output = model(
        input_ids=input_ids, labels=labels.masked_fill(rows[..., None], IGNORED), **layout
    )
    assert output.hidden is not None and output.streams is not None
    own: list[Any] = [output.hidden, input_ids, labels]
    if packing is None:
        parts = [x[taught] for x in own]
        mask = None if mask is None else mask[taught]
    else:
        parts, packing = [x[:, rows[0]] for x in own], packing.select(taught)
    streams, ctc = _divergences(
        student, teacher.lm, parts[0], parts[1], parts[2], mask=mask, packing=packing
    )
    streams = {name: part + streams[name] for name, part in output.streams.items()}
    both = None if output.ctc is None else output.ctc + ctc
    return type(output).from_losses(
        streams, both, student.config, num_items_in_batch, hidden=output.hidden
    )


def _divergences(
    student: AudioLM,
    teacher: AudioLM,
    hidden: Tensor,
    rows: Tensor,
    labels: Tensor,
    mask: Tensor | None,
    packing: Packing | None,
) -> tuple[dict[str, StreamLoss], StreamLoss]:
    """Divergence from the teacher by stream, and of the text logits at the rows of audio read."""
    positions = None if mask is None else (mask.cumsum(dim=1) - 1).clamp_min(0)
    if packing is not None:
        labels = packing.hide_starts(labels)
    with torch.no_grad():
        teacher_hidden = teacher.advance(rows, mask, positions, packing=packing)
        known = stream_targets(teacher, teacher_hidden[:, :-1], rows[:, 1:], labels[:, 1:])
        targets = {name: (stream.logits(), stream.labels) for name, stream in known.items()}
    own = stream_targets(student, hidden[:, :-1], rows[:, 1:], labels[:, 1:])
    streams = {name: divergence(own[name].logits(), *targets[name]) for name in own}
    audio = audio_positions(rows, labels, student.config, packing)
    with torch.no_grad():
        text_targets = teacher.text_logits(teacher_hidden[audio])
    no_labels = torch.zeros(len(text_targets), dtype=torch.int64, device=text_targets.device)
    return streams, divergence(student.text_logits(hidden[audio]), text_targets, no_labels)


def divergence(logits: Tensor, targets: Tensor, labels: Tensor) -> StreamLoss:
    """Kullback-Leibler divergence of the student from the teacher, where there is a label.

    Args:
        logits: of the student, `[N, W]`.
        targets: logits of the teacher, `[N, W]`.
        labels: `[N]`; only the accuracy depends on their values.
    """
    valid = labels != IGNORED
    logits, targets, labels = logits[valid].float(), targets[valid].float(), labels[valid]
    expected = targets.log_softmax(dim=-1)
    total = (expected.exp() * (expected - logits.log_softmax(dim=-1))).sum()
    hits = (logits.argmax(dim=-1) == labels).sum()
    return StreamLoss(total, valid.sum(), hits)
