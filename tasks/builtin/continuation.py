"""Continuation of audio."""

from __future__ import annotations

from ...lm.layouts import Slot, TaskLayout
from ..base import Task, register_task


@register_task
class Continuation(Task):
    """`audio.. -> ..audio`: no conditions; the given audio is the beginning of the target."""

    layout = TaskLayout(
        name="continuation",
        conditions=(),
        target=Slot(name="target", kind="audio"),
        prefix=Slot(name="audio", kind="audio"),
    )
    max_seconds = 10.0
