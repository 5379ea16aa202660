"""An audio, to be gone on with."""

from __future__ import annotations

from .base import Task, register_task


class Continuation(Task):
    """`audio.. -> ..audio`: no condition; what is given is the target's beginning."""

    name = "continuation"
    max_seconds = 10.0


TASK = register_task(Continuation())
