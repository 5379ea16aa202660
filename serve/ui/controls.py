"""Controls that several tabs share, their values, and how their events run."""

from __future__ import annotations

from typing import Any

import gradio as gr
import numpy as np
import numpy.typing as npt

from ...core.pcm import pcm
from ...tasks.base import Task, get_task
from ...tasks.pipelines.base import AudioLMPipeline
from ...tasks.pipelines.options import GenerationOptions
from ...tasks.pipelines.word_alignment import check_timestamps

# Of all events that run the model: one after the other, whichever tab they come from.
MODEL_EVENT: dict[str, Any] = {
    "concurrency_id": "model", "concurrency_limit": 1, "api_visibility": "private",
}  # fmt: skip
LIGHT_EVENT: dict[str, Any] = {
    "concurrency_id": "light", "concurrency_limit": 8, "api_visibility": "private",
    "show_progress": "hidden",
}  # fmt: skip


def seed_box() -> gr.Number:
    """The seed of sampling."""
    return gr.Number(0, label="Seed", info="The same seed gives the same result", precision=0,
                     minimum=0)  # fmt: skip


def sampling_sliders(task: str) -> tuple[gr.Slider, gr.Slider]:
    """Temperature and guidance in a closed accordion, at the defaults of a task."""
    usual = get_task(task)
    with gr.Accordion("Advanced", open=False):
        temperature = gr.Slider(
            0.0, 1.5, usual.audio_sampling.temperature, step=0.05, label="Temperature",
            info="0: the likeliest codes; higher: more varied",
        )  # fmt: skip
        guidance = gr.Slider(
            1.0, 4.0, usual.guidance_scale, step=0.1, label="Guidance",
            info="1: off; higher: closer to the text",
        )  # fmt: skip
    return temperature, guidance


def generation_options(task: Task, temperature: float, guidance: float) -> GenerationOptions:
    """The options of two sliders; a value at the default of the task is not given.

    A task may sample its codebooks at different temperatures, which one given value replaces.
    """
    usual = task.audio_sampling.temperature
    return GenerationOptions(
        temperature=None if temperature == usual else temperature,
        guidance_scale=None if guidance == task.guidance_scale else guidance,
    )


def has_word_times(pipeline: AudioLMPipeline) -> bool:
    """Whether the model can tell when words are said."""
    try:
        check_timestamps(pipeline)
    except ValueError:
        return False
    return can(pipeline, "asr")


def can(pipeline: AudioLMPipeline, *tasks: str) -> bool:
    """Whether the model was trained on all these tasks."""
    return set(tasks) <= set(pipeline.lm.config.tasks)


def sound(wav: Any, sample_rate: int) -> tuple[int, npt.NDArray[np.int16]]:
    """Samples [S] in [-1, 1] for ``gr.Audio``, which would scale float samples to full level."""
    return sample_rate, np.frombuffer(pcm(wav), "<i2")
