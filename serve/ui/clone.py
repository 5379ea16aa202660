"""The tab Clone: speech in the voice of a recording, with the consent of its speaker."""

from __future__ import annotations

from typing import Any

import gradio as gr

from ...tasks.pipelines.base import AudioLMPipeline
from ...tasks.pipelines.text_to_speech import TextToSpeech
from .controls import LIGHT_EVENT, MODEL_EVENT, can, seed_box
from .errors import one_sentence
from .limits import MAX_CLIP_SECONDS, MAX_TEXT, checked_seed, checked_text, read_upload
from .speak import spoken

CONSENT = "This is my own voice, or its speaker has agreed that I imitate it."
UNSUPPORTED = "This model does not imitate the voice of a recording (supports_cloning is false)."


def add_clone_tab(pipeline: AudioLMPipeline) -> None:
    """Add the components and events of the tab; all are disabled if the model cannot clone."""
    able = pipeline.lm.config.supports_cloning
    if not able:
        gr.Markdown(UNSUPPORTED)
    with gr.Row():
        with gr.Column():
            recording = gr.Audio(
                sources=["upload", "microphone"], type="filepath", buttons=[],
                label="Recording of the voice (3 to 10 s)", interactive=able,
            )  # fmt: skip
            transcript = gr.Textbox(
                label="What the recording says", lines=2, max_length=MAX_TEXT, interactive=able,
                info="Optional; makes the voice more similar",
            )  # fmt: skip
            text = gr.Textbox(label="Text to speak", lines=3, max_length=MAX_TEXT,
                              interactive=able)  # fmt: skip
            seed = seed_box()
            consent = gr.Checkbox(False, label=CONSENT, interactive=able)
            button = gr.Button("Speak in this voice", variant="primary", interactive=False)
        with gr.Column():
            audio = gr.Audio(label="Speech in this voice", interactive=False,
                             buttons=["download"])  # fmt: skip
            report = gr.HTML(label="Report")
    if not able:
        return
    consent.change(lambda given: gr.Button(interactive=given), consent, button, **LIGHT_EVENT)
    button.click(
        one_sentence(Cloner(pipeline).speak),
        [consent, recording, transcript, text, seed], [audio, report], **MODEL_EVENT,
    )  # fmt: skip


class Cloner:
    """Speaks in the voice of a recording."""

    def __init__(self, pipeline: AudioLMPipeline) -> None:
        self.pipeline = pipeline

    def speak(
        self, consent: bool, recording: str | None, transcript: str, text: str, seed: float
    ) -> tuple[Any, str]:
        """The player and the report.

        Raises:
            ValueError: without consent, for a model that cannot clone, or for wrong input.
        """
        if consent is not True:
            raise ValueError("Tick the box first: a voice is imitated only with consent.")
        if not self.pipeline.lm.config.supports_cloning:
            raise ValueError(UNSUPPORTED)
        text = checked_text(text, MAX_TEXT, "text")
        rate = self.pipeline.sample_rate
        wav = read_upload(recording, rate, MAX_CLIP_SECONDS)
        tts = TextToSpeech(self.pipeline)
        voice = tts.voice({"array": wav, "sampling_rate": rate}, (transcript or "").strip() or None)
        return spoken(tts, text, voice, checked_seed(seed), can(self.pipeline, "asr"))
