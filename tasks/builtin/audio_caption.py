"""Description of a sound."""

from __future__ import annotations

from collections.abc import Sequence

from ...lm.layouts import Slot, TaskLayout
from ..base import Score, Task, register_task
from ..evaluation.caption_scores import caption_scores


@register_task
class AudioCaption(Task):
    """`audio -> text`."""

    layout = TaskLayout(
        name="audio_caption",
        conditions=(Slot(name="audio", kind="audio"),),
        target=Slot(name="text", kind="text"),
    )
    domains = ("sound",)

    def score(
        self, outputs: Sequence[str], references: Sequence[str], languages: Sequence[str]
    ) -> list[Score]:
        """N-gram overlap of the captions with their references."""
        return caption_scores(outputs, references)
