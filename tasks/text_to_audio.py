"""A description to its sound."""

from __future__ import annotations

from ..lm.sampling import SamplingConfig
from .base import Task, register_task


class TextToAudio(Task):
    """`text -> audio`."""

    name = "text_to_audio"
    domains = ("sound",)
    # Held to the prompt by guidance, and drawn narrowly: at 0.9 no more of the sounds were told by
    # their class (recipes/multitask).
    audio_sampling = SamplingConfig(temperature=0.5, top_k=60)
    guidance_scale = 2.0
    max_seconds = 10.0


TASK = register_task(TextToAudio())
