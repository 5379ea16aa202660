"""A description to its sound."""

from __future__ import annotations

from ..lm.generation.sampling import SamplingConfig
from .base import Task, register_task


class TextToAudio(Task):
    """`text -> audio`."""

    name = "text_to_audio"
    domains = ("sound",)
    # What happens is drawn, how exactly it sounds is nearly the likeliest: codes 2.. drawn as wide
    # as the first one blur what a sound is told by (docs/lab/language_model.md).
    audio_sampling = SamplingConfig(temperature=0.5, top_k=60)
    detail_sampling = SamplingConfig(temperature=0.2, top_k=60)
    guidance_scale = 1.5
    max_seconds = 10.0


TASK = register_task(TextToAudio())
