"""The tab Sound and Music: several draws of a description, side by side."""

from __future__ import annotations

from typing import Any

import gradio as gr

from ...tasks.base import get_task
from ...tasks.pipelines.audio_generation import AudioGenerator
from ...tasks.pipelines.base import AudioLMPipeline
from .controls import (
    LIGHT_EVENT,
    MODEL_EVENT,
    can,
    generation_options,
    sampling_sliders,
    seed_box,
    sound,
)
from .errors import one_sentence
from .limits import MAX_PROMPT, checked_seed, checked_text
from .markup import lines

MAX_DRAWS = 4
MAX_SECONDS = 10.0
_TASKS = {"Sound": "text_to_audio", "Music": "text_to_music"}
_PROMPTS = ["a dog barks twice", "rain falls on a roof", "a slow piano waltz"]


def add_sounds_tab(pipeline: AudioLMPipeline) -> None:
    """Add the components and events of the tab."""
    kinds = [kind for kind, task in _TASKS.items() if can(pipeline, task)]
    if not kinds:
        gr.Markdown("This model was not trained to make sounds or music.")
        return
    kind = gr.Radio(kinds, value=kinds[0], label="Kind")
    prompt = gr.Textbox(_PROMPTS[0], label="Description", max_length=MAX_PROMPT)
    with gr.Row():
        seconds = gr.Slider(1.0, MAX_SECONDS, 4.0, step=0.5, label="Seconds (at most)")
        draws = gr.Slider(1, MAX_DRAWS, 2, step=1, label="Draws")
        seed = seed_box()
    temperature, guidance = sampling_sliders(_TASKS[kinds[0]])
    kind.change(_usual_sampling, kind, [temperature, guidance], **LIGHT_EVENT)
    button = gr.Button("Generate", variant="primary")
    with gr.Row():
        players = [
            gr.Audio(label=f"Draw {number + 1}", interactive=False, visible=number == 0,
                     min_width=240, buttons=["download"])
            for number in range(MAX_DRAWS)
        ]  # fmt: skip
    report = gr.HTML(label="Report")
    button.click(
        one_sentence(_Generator(pipeline).generate),
        [kind, prompt, seconds, draws, seed, temperature, guidance], [*players, report],
        **MODEL_EVENT,
    )  # fmt: skip


def _usual_sampling(kind: str) -> tuple[float, float]:
    """Temperature and guidance of a kind."""
    task = get_task(_TASKS[kind])
    return task.audio_sampling.temperature, task.guidance_scale


class _Generator:
    def __init__(self, pipeline: AudioLMPipeline) -> None:
        self.pipeline = pipeline

    def generate(
        self, kind: str, prompt: str, seconds: float, draws: float, seed: float,
        temperature: float, guidance: float,
    ) -> list[Any]:  # fmt: skip
        prompt, count = checked_text(prompt, MAX_PROMPT, "description"), int(draws)
        if not 1 <= count <= MAX_DRAWS or not 0 < seconds <= MAX_SECONDS or kind not in _TASKS:
            raise ValueError(f"Up to {MAX_DRAWS} draws of up to {MAX_SECONDS:.0f} s are made.")
        task, first = _TASKS[kind], checked_seed(seed)
        seeds = [(first + number) % 2**31 for number in range(count)]
        generator = AudioGenerator(
            self.pipeline, generation_options(get_task(task), temperature, guidance)
        )
        made = generator.generate(task, [{"text": prompt}] * count, seconds=seconds, seeds=seeds)
        shown: list[Any] = [
            gr.Audio(sound(one.wav, one.sample_rate), label=f"Seed {number}", visible=True)
            for number, one in zip(seeds, made, strict=True)
        ]
        shown += [gr.Audio(None, visible=False)] * (MAX_DRAWS - count)
        problems = [
            f"Seed {number}: {problem}"
            for number, one in zip(seeds, made, strict=True)
            for problem in one.problems
        ]
        total = sum(one.seconds for one in made)
        return [*shown, lines([f"{count} draws made in {total:.1f} s.", *problems])]
