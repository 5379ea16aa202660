"""Speech recognition."""

from __future__ import annotations

from collections.abc import Sequence

from ...lm.layouts import Slot, TaskLayout
from ..base import Score, Task, register_task
from ..evaluation.scores import word_scores


@register_task
class ASR(Task):
    """`audio -> text`."""

    layout = TaskLayout(
        name="asr",
        conditions=(Slot(name="audio", kind="audio"),),
        target=Slot(name="text", kind="text", transcript=True),
    )
    beams = 8
    lm_weight = 0.2
    views = 3
    # "listening": recordings to transcribe but not to imitate, such as calls, crowds, synthesis.
    domains = ("speech", "listening")

    def score(
        self, outputs: Sequence[str], references: Sequence[str], languages: Sequence[str]
    ) -> list[Score]:
        """WER and CER of the transcripts."""
        return word_scores(outputs, references, languages)
