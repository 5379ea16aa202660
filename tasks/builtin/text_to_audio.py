"""Sound from a description."""

from __future__ import annotations

from ...lm.generation.sampling import SamplingConfig
from ...lm.layouts import Slot, TaskLayout
from ..base import Task, register_task


@register_task
class TextToAudio(Task):
    """`text -> audio`."""

    layout = TaskLayout(
        name="text_to_audio",
        conditions=(Slot(name="text", kind="text"),),
        target=Slot(name="audio", kind="audio"),
    )
    domains = ("sound",)
    # Codebooks 2.. are sampled almost greedily: at the temperature of the first one, sounds become
    # hard to recognise (docs/lab/language_model.md).
    audio_sampling = SamplingConfig(temperature=0.5, top_k=60)
    detail_sampling = SamplingConfig(temperature=0.2, top_k=60)
    guidance_scale = 1.5
    max_seconds = 10.0
