"""Speech to text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .base import Task, register_task
from .evaluation.scores import word_scores


class ASR(Task):
    """`audio -> text`."""

    name = "asr"
    beams = 8
    lm_weight = 0.2
    views = 3
    # What is to be understood and not imitated: calls, crowds, what the model itself said.
    domains = ("speech", "listening")

    def score(self, outputs: Sequence[str], references: Sequence[str]) -> dict[str, Any]:
        """WER and CER of the transcripts."""
        return word_scores(outputs, references)


TASK = register_task(ASR())
