"""Music from a description."""

from __future__ import annotations

from ...lm.generation.sampling import SamplingConfig
from ...lm.layouts import Slot, TaskLayout
from ..base import Task, register_task


@register_task
class TextToMusic(Task):
    """`text -> audio`."""

    layout = TaskLayout(
        name="text_to_music",
        conditions=(Slot(name="text", kind="text"),),
        target=Slot(name="audio", kind="audio"),
    )
    domains = ("music",)
    audio_sampling = SamplingConfig(temperature=0.9, top_k=60)
    guidance_scale = 2.0
    max_seconds = 10.0
