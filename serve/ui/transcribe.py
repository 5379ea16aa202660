"""The tab Transcribe: text and words of a file or a recording."""

from __future__ import annotations

import gradio as gr

from ...tasks.pipelines.base import AudioLMPipeline
from ...tasks.pipelines.speech_recognition import SpeechRecognizer
from .controls import MODEL_EVENT, can, has_word_times
from .errors import one_sentence
from .limits import MAX_SPEECH_SECONDS, read_upload
from .markup import lines, word_table


def add_transcribe_tab(pipeline: AudioLMPipeline) -> None:
    """Add the components and events of the tab."""
    if not can(pipeline, "asr"):
        gr.Markdown("This model was not trained to transcribe speech.")
        return
    with gr.Row():
        with gr.Column():
            audio = gr.Audio(sources=["upload", "microphone"], type="filepath", buttons=[],
                             label=f"Speech, at most {MAX_SPEECH_SECONDS:.0f} s")  # fmt: skip
            button = gr.Button("Transcribe", variant="primary")
        with gr.Column():
            text = gr.Textbox(label="Transcript", lines=4, interactive=True)
            report = gr.HTML(label="Report")
    button.click(
        one_sentence(_Transcriber(pipeline).transcribe), audio, [text, report], **MODEL_EVENT
    )


class _Transcriber:
    def __init__(self, pipeline: AudioLMPipeline) -> None:
        self.pipeline = pipeline

    def transcribe(self, path: str | None) -> tuple[str, str]:
        read_upload(path, self.pipeline.sample_rate, MAX_SPEECH_SECONDS)
        result = SpeechRecognizer(self.pipeline).transcribe(
            path, timestamps=has_word_times(self.pipeline)
        )
        if result.silent:
            raise ValueError("The audio is silent: there is nothing to transcribe.")
        notes = [
            f"{result.duration:.1f} s of audio, transcribed in {result.seconds:.1f} s,"
            f" confidence {result.confidence:.2f}.",
            *result.problems,
        ]
        return result.text, lines(notes) + (word_table(result.words) if result.words else "")
