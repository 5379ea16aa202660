"""A description to its music."""

from __future__ import annotations

from ..lm.generation.sampling import SamplingConfig
from .base import Task, register_task


class TextToMusic(Task):
    """`text -> audio`."""

    name = "text_to_music"
    domains = ("music",)
    audio_sampling = SamplingConfig(temperature=0.9, top_k=60)
    guidance_scale = 2.0
    max_seconds = 10.0


TASK = register_task(TextToMusic())
