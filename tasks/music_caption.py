"""Music to its description."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .base import Task, register_task
from .evaluation.caption_scores import caption_scores


class MusicCaption(Task):
    """`audio -> text`."""

    name = "music_caption"
    domains = ("music",)

    def score(self, outputs: Sequence[str], references: Sequence[str]) -> dict[str, Any]:
        """How much the captions have in common with their references."""
        return caption_scores(outputs, references)


TASK = register_task(MusicCaption())
