"""`POST /v1/audio/transcriptions`: the text of a recording, as of OpenAI."""

from __future__ import annotations

import math
import zlib
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Annotated, Literal

from fastapi import APIRouter, Form, Request, Response, UploadFile
from fastapi.responses import JSONResponse, PlainTextResponse
from pydantic import BaseModel, ConfigDict, Field

from ...tasks.pipelines.options import GenerationOptions
from ...tasks.pipelines.outputs import Transcript
from ...tasks.pipelines.word_alignment import check_timestamps
from ...tasks.subtitles import to_subtitles
from ...tasks.word_times import TimedSentence, words_to_json
from ..errors import ApiError
from ..limits import in_time
from ..recognition import PartialTranscript, transcribe, transcripts
from ..state import ServerState, State
from ..streams import Event, event_stream
from ..uploads import read_upload

router = APIRouter(tags=["transcriptions"])
_TIMED = ("srt", "verbose_json", "vtt")
_SUBTITLES = {"srt": "application/x-subrip", "vtt": "text/vtt"}


class TranscriptionForm(BaseModel):
    """Fields of the form; `adapter` and `seed` are not of OpenAI."""

    model_config = ConfigDict(extra="forbid")

    file: UploadFile = Field(description="audio: wav, flac, ogg, opus, mp3, aiff")
    model: str
    language: str | None = None
    prompt: str | None = Field(None, description="must be empty: the model takes none")
    response_format: Literal["json", "text", "srt", "verbose_json", "vtt"] = "json"
    temperature: float = Field(0.0, ge=0, le=2, description="0: the search of the model")
    granularities: list[Literal["word", "segment"]] = Field(
        ["segment"], alias="timestamp_granularities[]", description="of verbose_json"
    )
    stream: bool = False
    adapter: str | None = None
    seed: int = Field(0, ge=0, lt=2**31)


FormOfRequest = Annotated[TranscriptionForm, Form(media_type="multipart/form-data")]


@router.post("/v1/audio/transcriptions")
async def create_transcription(form: FormOfRequest, request: Request, state: State) -> Response:
    """Transcribe an uploaded recording.

    With `stream` the text is sent in events `transcript.text.delta`, after each window of 20 s, and
    as a whole in `transcript.text.done`.
    """
    adapter = state.adapter_of(form.model, form.adapter)
    state.check_task("asr")
    options = _options(state, form)
    wav = await read_upload(state, form.file)
    if form.stream:
        found = transcripts(state, wav, options=options, seed=form.seed, adapter=adapter)
        try:
            first = await in_time(request, anext(found))  # errors until here have their own status
        except BaseException:
            await found.aclose()
            raise
        return event_stream(_events(first, found), state.settings.request_timeout)

    timestamps = form.response_format in _TIMED
    if timestamps:
        check_timestamps(state.pipeline)

    async def work() -> Transcript:
        return await transcribe(
            state, wav, options=options, seed=form.seed, adapter=adapter, timestamps=timestamps
        )

    return _response(state, form, await in_time(request, work()))


def _options(state: ServerState, form: TranscriptionForm) -> GenerationOptions:
    """Options of generation.

    Raises:
        ApiError: for a field that the model cannot follow.
    """
    if form.prompt:
        message = "prompt must be empty: this model transcribes without one"
        raise ApiError(400, message, param="prompt", code="unsupported_parameter")
    if form.stream and form.response_format not in ("json", "text"):
        message = f"stream needs response_format json or text, got {form.response_format}"
        raise ApiError(400, message, param="stream")
    try:
        state.pipeline.text_encoder.check_language(form.language)
    except ValueError as error:
        raise ApiError(400, str(error), param="language") from error
    return GenerationOptions(temperature=form.temperature or None, language=form.language or None)


async def _events(
    first: PartialTranscript, found: AsyncGenerator[PartialTranscript, None]
) -> AsyncGenerator[Event, None]:
    """The settled text in pieces, and the whole text at the end."""
    sent, partial = "", first
    async with aclosing(found):
        while True:
            if len(partial.settled) > len(sent):
                yield {"type": "transcript.text.delta", "delta": partial.settled[len(sent) :]}
                sent = partial.settled
            try:
                partial = await anext(found)
            except StopAsyncIteration:
                break
    yield {
        "type": "transcript.text.done",
        "text": partial.transcript.text,
        "usage": _usage(partial.transcript),
    }


def _usage(transcript: Transcript) -> Event:
    return {"type": "duration", "seconds": math.ceil(transcript.duration)}


def _response(state: ServerState, form: TranscriptionForm, transcript: Transcript) -> Response:
    name = form.response_format
    if name == "text":
        return PlainTextResponse(transcript.text + "\n")
    if name in _SUBTITLES:
        return Response(to_subtitles(transcript.words or (), name), media_type=_SUBTITLES[name])
    content: Event = {"text": transcript.text, "usage": _usage(transcript)}
    if name == "verbose_json":
        content |= _verbose(state, form, transcript)
    return JSONResponse(content)


def _verbose(state: ServerState, form: TranscriptionForm, transcript: Transcript) -> Event:
    """What `verbose_json` tells beside the text."""
    language = form.language or state.pipeline.text_encoder.language
    content: Event = {
        "task": "transcribe", "language": language or "", "duration": transcript.duration,
    }  # fmt: skip
    timed = words_to_json(transcript.words or ())
    if "word" in form.granularities:
        content["words"] = timed["words"]
    if "segment" in form.granularities:
        content["segments"] = [
            {**segment, **_measures(sentence, form.temperature)}
            for segment, sentence in zip(timed["segments"], transcript.segments or (), strict=True)
        ]
    return content


def _measures(sentence: TimedSentence, temperature: float) -> Event:
    """Further fields of a segment of OpenAI; what is not measured is 0 or empty."""
    text = sentence.text.encode()
    confidences = [math.log(max(word.confidence, 1e-10)) for word in sentence.words]
    return {
        "avg_logprob": sum(confidences) / len(confidences),
        "compression_ratio": len(text) / len(zlib.compress(text)),
        "temperature": temperature,
        "no_speech_prob": 0.0,
        "seek": 0,
        "tokens": [],
    }
