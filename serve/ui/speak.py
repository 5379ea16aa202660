"""The tab Speak: a text becomes speech, played while it is made and checked by the model's ASR."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gradio as gr
import torch

from ...codec.tokens import AudioTokens
from ...tasks.base import get_task
from ...tasks.evaluation.diff import Diff
from ...tasks.pipelines.base import AudioLMPipeline
from ...tasks.pipelines.self_check import self_check
from ...tasks.pipelines.text_to_speech import TextToSpeech, Voice
from ...tasks.pipelines.word_alignment import align_words
from ...tasks.word_times import TimedWord
from .controls import (
    MODEL_EVENT,
    can,
    generation_options,
    has_word_times,
    sampling_sliders,
    seed_box,
    sound,
)
from .errors import one_sentence
from .limits import MAX_TEXT, checked_seed, checked_text
from .markup import lines, word_differences, word_table
from .streams import SpeechStream, SpeechStreams

DEFAULT_VOICE = "default"
# Draws a ticket and begins to fetch the stream; a browser allows sound only after a click.
_PLAY = """(...values) => {
  const last = values.length - 1;
  values[last] = values[last - 1] ? almtok.ticket() : "";
  almtok.stop();
  if (values[last]) almtok.play(values[last]);
  return values;
}"""


def add_speak_tab(pipeline: AudioLMPipeline, streams: SpeechStreams) -> None:
    """Add the components and events of the tab."""
    speaker = _Speaker(pipeline, streams)
    with gr.Row():
        with gr.Column():
            text = gr.Textbox(
                "Good morning! The rain has stopped.", label="Text", lines=4, max_length=MAX_TEXT
            )
            with gr.Row():
                voices = [DEFAULT_VOICE, *pipeline.lm.config.voices]
                voice = gr.Dropdown(voices, value=DEFAULT_VOICE, label="Voice")
                seed = seed_box()
            temperature, guidance = sampling_sliders("tts")
            check = gr.Checkbox(can(pipeline, "asr"), label="Self-check",
                                info="Transcribe the speech and compare the words",
                                interactive=can(pipeline, "asr"))  # fmt: skip
            stream = gr.Checkbox(True, label="Streaming", info="Play while the speech is made")
            ticket = gr.Textbox(visible=False)
            with gr.Row():
                button = gr.Button("Speak", variant="primary")
                stop = gr.Button("Stop")
        with gr.Column():
            audio = gr.Audio(label="Speech", interactive=False, buttons=["download"])
            report = gr.HTML(label="Report")
    running = button.click(
        one_sentence(speaker.speak),
        [text, voice, seed, temperature, guidance, check, stream, ticket],
        [audio, report], js=_PLAY, **MODEL_EVENT,
    )  # fmt: skip
    stop.click(None, cancels=[running], js="() => { almtok.stop(); }")


class _Speaker:
    def __init__(self, pipeline: AudioLMPipeline, streams: SpeechStreams) -> None:
        self.pipeline, self.streams = pipeline, streams

    def speak(
        self, text: str, voice: str, seed: float, temperature: float, guidance: float,
        check: bool, stream: bool, ticket: str,
    ) -> Iterator[tuple[Any, str]]:  # fmt: skip
        """Yield the player and the report, empty ones first."""
        with self.streams.writing(ticket) as sent:
            text = checked_text(text, MAX_TEXT, "text")
            options = generation_options(get_task("tts"), temperature, guidance)
            tts = TextToSpeech(self.pipeline, options)
            name = None if voice == DEFAULT_VOICE else voice
            yield None, lines(["Speaking ..."])
            if stream:
                yield from self._streamed(tts, text, name, checked_seed(seed), check, sent)
            else:
                yield spoken(tts, text, name, checked_seed(seed), check)

    def _streamed(
        self, tts: TextToSpeech, text: str, voice: str | None, seed: int, check: bool,
        sent: SpeechStream,
    ) -> Iterator[tuple[Any, str]]:  # fmt: skip
        pieces, parts, wavs, codes, notes = tts.split(text), [], [], [], []
        for chunk in tts.stream(text, voice=voice, seed=seed):
            wavs.append(chunk.waveform.flatten().float().cpu())
            sent.write(wavs[-1])
            codes.append(chunk.codes)
            if chunk.result is not None:
                w = chunk.result.frames_per_query
                joined = torch.cat(codes, dim=1).cpu()
                parts.append(self.pipeline.processor.audio_input.from_codes(joined, w))
                codes = []
                if chunk.result.finish != "end":
                    notes.append(f"Part {len(parts)} did not end by itself.")
        sent.close()
        wav = torch.cat(wavs)
        player = sound(wav, self.pipeline.sample_rate)
        notes.insert(0, _length(len(wav) / self.pipeline.sample_rate))
        report = lines(notes)
        yield player, report
        if check:
            results = self_check(self.pipeline, parts, pieces)
            words = tuple(word for result in results for word in result.diff.words)
            report += word_differences(Diff(words))
            yield player, report
        if has_word_times(self.pipeline):
            yield player, report + word_table(self._word_times(parts, pieces))

    def _word_times(self, parts: list[AudioTokens], pieces: list[str]) -> list[TimedWord]:
        words: list[TimedWord] = []
        start = 0.0
        for part, own in zip(parts, align_words(self.pipeline, parts, pieces), strict=True):
            words += [word.shifted(start) for word in own]
            start += part.duration
        return words


def spoken(
    tts: TextToSpeech, text: str, voice: str | Voice | None, seed: int, check: bool
) -> tuple[Any, str]:
    """The player and the report of a text that is made as a whole."""
    times = has_word_times(tts.pipeline)
    speech = tts.speak(text, voice=voice, seed=seed, check=check, timestamps=times)
    notes = [f"{_length(speech.duration)} Made in {speech.seconds:.1f} s.", *speech.problems]
    report = lines(notes)
    if speech.diff is not None:
        report += word_differences(speech.diff)
    if speech.words:
        report += word_table(speech.words)
    return sound(speech.wav, speech.sample_rate), report


def _length(seconds: float) -> str:
    return f"{seconds:.1f} s of speech."
