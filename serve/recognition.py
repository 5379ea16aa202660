"""Transcripts and captions by the scheduler, window by window.

The same windows, seeds and joins as of `SpeechRecognizer` and `AudioCaptioner`, so the same texts.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from ..codec.tokens import AudioTokens
from ..core.audio import Waveform
from ..lm.adapter_rows import adapter_rows
from ..tasks.pipelines.arguments import SHIFTED
from ..tasks.pipelines.base import AudioLMPipeline
from ..tasks.pipelines.options import GenerationOptions
from ..tasks.pipelines.outputs import TaskOutput, Transcript
from ..tasks.pipelines.speech_recognition import (
    OVERLAP_SECONDS,
    WINDOW_SECONDS,
    WindowedAudio,
    encode_windows,
)
from ..tasks.pipelines.word_alignment import TimedWords, align_words
from .state import ServerState

Cut = list[AudioTokens] | None  # a window in all encodings; None: silent
_WINDOWS_AT_ONCE = 4  # of one request: a long recording must not fill the queue


@dataclass(frozen=True)
class PartialTranscript:
    """The transcript of the first windows of a recording.

    Attributes:
        transcript: of these windows.
        settled: the beginning of its text that later windows do not change.
    """

    transcript: Transcript
    settled: str


async def transcripts(
    state: ServerState,
    wav: Waveform,
    *,
    options: GenerationOptions,
    seed: int = 0,
    adapter: str | None = None,
) -> AsyncGenerator[PartialTranscript, None]:
    """Transcribe samples `[S]`; yield the transcript so far after each window.

    Raises:
        QueueFull: if the queue is full.
    """
    pipeline = state.pipeline
    audio, cuts = await _windows(state, wav, options)
    async with aclosing(_texts(state, "asr", cuts, options, seed, adapter)) as texts:
        outputs: list[TaskOutput | None] = []
        async for output in texts:
            outputs.append(output)
            count = len(outputs)
            transcript = audio.first(count).transcript(pipeline, outputs)
            words = transcript.text.split()
            if count < len(cuts):
                words = words[: max(0, len(words) - audio.overlap_words(pipeline, count))]
            yield PartialTranscript(transcript, " ".join(words))


async def transcribe(
    state: ServerState,
    wav: Waveform,
    *,
    options: GenerationOptions,
    seed: int = 0,
    adapter: str | None = None,
    timestamps: bool = False,
) -> Transcript:
    """Transcribe samples `[S]` to their end.

    Args:
        state: of the server.
        wav: `[S]`, at the rate of the model.
        options: of generation.
        seed: of sampling.
        adapter: name of a loaded adapter; None: the base model.
        timestamps: find the times of the words; the model must have learned CTC.

    Raises:
        QueueFull: if the queue is full.
    """
    audio, cuts = await _windows(state, wav, options)
    async with aclosing(_texts(state, "asr", cuts, options, seed, adapter)) as texts:
        outputs = [output async for output in texts]
    words = None
    if timestamps:
        name = state.adapter_of_rows(adapter)
        words = await state.with_codec(_words, state.pipeline, cuts, outputs, options, name)
    return audio.transcript(state.pipeline, outputs, words)


async def caption(
    state: ServerState,
    wav: Waveform,
    *,
    task: str,
    options: GenerationOptions,
    seed: int = 0,
    adapter: str | None = None,
) -> Transcript:
    """Describe samples `[S]` by their beginning, with a caption task.

    Raises:
        QueueFull: if the queue is full.
    """
    audio: WindowedAudio = await state.with_codec(
        encode_windows, state.pipeline, wav, task, WINDOW_SECONDS, 0.0, options
    )
    audio = audio.first()
    cut = None if audio.silent[0] else [state.pipeline.cut(audio.tokens, *audio.spans[0])]
    async with aclosing(_texts(state, task, [cut], options, seed, adapter)) as texts:
        return audio.transcript(state.pipeline, [output async for output in texts])


async def _windows(
    state: ServerState, wav: Waveform, options: GenerationOptions
) -> tuple[WindowedAudio, list[Cut]]:
    """The windows of samples `[S]`, and what each holds."""
    audio = await state.with_codec(
        encode_windows, state.pipeline, wav, "asr", WINDOW_SECONDS, OVERLAP_SECONDS, options
    )
    cuts = [
        None if silent else audio.cut(state.pipeline, window)
        for window, silent in enumerate(audio.silent)
    ]
    return audio, cuts


def _words(
    pipeline: AudioLMPipeline,
    cuts: Sequence[Cut],
    outputs: Sequence[TaskOutput | None],
    options: GenerationOptions,
    adapter: str | None,
) -> list[TimedWords]:
    """The timed words of each window; a silent one has none."""
    loud = [
        (number, cut[0], output.text or "")
        for number, (cut, output) in enumerate(zip(cuts, outputs, strict=True))
        if cut is not None and output is not None
    ]
    found: list[TimedWords] = [()] * len(cuts)
    # By rows: the active adapter is the scheduler's, which runs at the same time.
    with adapter_rows(adapter):
        audio, texts = [tokens for _, tokens, _ in loud], [text for *_, text in loud]
        timed = align_words(pipeline, audio, texts, options=options)
    for (number, *_), words in zip(loud, timed, strict=True):
        found[number] = words
    return found


async def _texts(
    state: ServerState,
    task: str,
    cuts: Sequence[Cut],
    options: GenerationOptions,
    seed: int,
    adapter: str | None,
) -> AsyncGenerator[TaskOutput | None, None]:
    """The output of each window, in order; None of a silent one, whose cut is None."""
    room = asyncio.Semaphore(_WINDOWS_AT_ONCE)
    loud = [number for number, cut in enumerate(cuts) if cut is not None]

    async def output(number: int, cut: Cut) -> TaskOutput | None:
        if cut is None:
            return None
        async with room:
            place = loud.index(number)
            fields = {"audio": cut[0]} | ({SHIFTED: cut[1:]} if len(cut) > 1 else {})
            seconds = [cut[0].duration] if task == "asr" else None
            arguments = await state.prepared(
                state.pipeline.prompt, task, [fields], seconds=seconds, options=options
            )
            job = await state.submit(
                arguments, seed=seed + place, adapter=adapter, admitted=place > 0
            )
            try:
                return state.pipeline.to_output(await job.result(), 0.0)
            finally:
                job.cancel()

    tasks = [asyncio.ensure_future(output(number, cut)) for number, cut in enumerate(cuts)]
    try:
        for task_ in tasks:
            yield await task_
    finally:
        for task_ in tasks:
            task_.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
