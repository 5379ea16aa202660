"""`POST /v1/audio/speech`: speech as a file, as a stream of audio, or as server-sent events."""

from __future__ import annotations

import base64
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Literal

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field, field_validator

from ...core.audio import Waveform
from ...core.pcm import pcm, wav_header
from ...tasks.base import get_task
from ...tasks.duration import units
from ...tasks.pipelines.options import GenerationOptions
from ...tasks.pipelines.text_to_speech import TextToSpeech
from ..errors import ApiError, to_api_error
from ..formats import (
    COMMENT,
    MEDIA_TYPES,
    STREAMED,
    SYNTHETIC_HEADERS,
    check_format,
    encode_audio,
)
from ..limits import in_time
from ..speaking import Speaking
from ..state import ServerState, State
from ..streams import LAST_EVENT_SECONDS, ClosingStream, event_line
from .models import DEFAULT_VOICE, voice_names

router = APIRouter(tags=["speech"])
_EVENT_BYTES = 24_000  # of a file in one event


class VoiceId(BaseModel):
    """A voice as an object."""

    model_config = ConfigDict(extra="forbid")
    id: str


class SpeechRequest(BaseModel):
    """The body: OpenAI's fields, and `seed`, `guidance_scale`, `adapter`."""

    model_config = ConfigDict(extra="forbid")
    model: str
    input: str = Field(min_length=1)
    voice: str | VoiceId = DEFAULT_VOICE
    response_format: str = "mp3"
    stream_format: Literal["audio", "sse"] = "audio"
    speed: float = 1.0
    instructions: str | None = None
    seed: int = Field(0, ge=0, lt=1 << 63)
    guidance_scale: float | None = Field(None, ge=0, le=20, allow_inf_nan=False)
    adapter: str | None = None

    @field_validator("instructions")
    @classmethod
    def _no_instructions(cls, value: str | None) -> None:
        if value is not None:
            raise ValueError("not supported: the model takes no description of how to speak")

    @field_validator("speed")
    @classmethod
    def _usual_speed(cls, value: float) -> float:
        if value != 1.0:
            raise ValueError(f"must be 1.0: the model does not change its speed, got {value:g}")
        return value


@router.post("/v1/audio/speech", response_class=Response)
async def create_speech(body: SpeechRequest, request: Request, state: State) -> Response:
    """Speak a text."""
    adapter = _check(state, body)
    options = GenerationOptions(guidance_scale=body.guidance_scale)
    tts = TextToSpeech(state.pipeline, options)
    voice = voice_of(state, body.voice)
    try:
        job = await state.prepared(
            tts.job, body.input, voice=voice, seed=body.seed, adapter=adapter
        )
    except ValueError as error:
        raise ApiError(400, str(error), param="input") from error
    speaking = Speaking(state, job, options)
    name = body.response_format
    if name not in STREAMED or state.watermark is not None:
        data = await in_time(request, _file(state, speaking, name))
        pieces = _cut(data)
        if body.stream_format == "audio":
            return Response(data, headers=_headers(state), media_type=MEDIA_TYPES[name])
    else:
        source = speaking.chunks()
        first = await in_time(request, anext(source))
        pieces = _as_bytes(first, source, wav_rate=state.pipeline.sample_rate * (name == "wav"))
    media_type = MEDIA_TYPES[name]
    if body.stream_format == "sse":
        pieces, media_type = _events(pieces, speaking), "text/event-stream"
    seconds = state.settings.request_timeout + LAST_EVENT_SECONDS
    return ClosingStream(pieces, _headers(state), media_type, seconds)


def _check(state: ServerState, body: SpeechRequest) -> str | None:
    """Check what does not need the text encoder; return the name of the adapter."""
    adapter = state.check_model(body.model)
    if body.adapter is not None:
        state.check_adapter(body.adapter)
        adapter = body.adapter
    state.check_task("tts")
    check_format(body.response_format)
    most = state.settings.max_text_chars
    if len(body.input) > most:
        message = f"input must have at most {most} characters, got {len(body.input)}"
        raise ApiError(400, message, param="input", code="string_above_max_length")
    seconds = units(body.input) * get_task("tts").pace.usual
    if seconds > state.settings.max_audio_seconds:
        message = (
            f"input must be at most {state.settings.max_audio_seconds:g} s of speech, got about"
            f" {seconds:.0f} s"
        )
        raise ApiError(400, message, param="input", code="string_above_max_length")
    return adapter


def voice_of(state: ServerState, voice: str | VoiceId) -> str | None:
    """The name of a voice of the model; None: its default.

    Raises:
        ApiError: 400 for a name of no voice.
    """
    name = voice if isinstance(voice, str) else voice.id
    if name in state.pipeline.lm.config.voices:
        return name
    if name == DEFAULT_VOICE:
        return None
    known = ", ".join(voice_names(state))
    message = f"voice must be one of {known}, got {name!r}"
    raise ApiError(400, message, param="voice", code="voice_not_found")


async def _file(state: ServerState, speaking: Speaking, name: str) -> bytes:
    return await encode_audio(state, await speaking.whole(), name)


async def _cut(data: bytes) -> AsyncGenerator[bytes, None]:
    for first in range(0, len(data), _EVENT_BYTES):
        yield data[first : first + _EVENT_BYTES]


async def _as_bytes(
    first: Waveform, rest: AsyncGenerator[Waveform, None], *, wav_rate: int
) -> AsyncGenerator[bytes, None]:
    """PCM of waveforms, after a WAV header if there is a rate."""
    async with aclosing(rest):
        header = wav_header(wav_rate, None, COMMENT) if wav_rate else b""
        yield header + pcm(first)
        async for waveform in rest:
            yield pcm(waveform)


async def _events(
    pieces: AsyncGenerator[bytes, None], speaking: Speaking
) -> AsyncGenerator[bytes, None]:
    """Server-sent events of OpenAI; an error in the middle is the last event."""
    try:
        async with aclosing(pieces):
            async for piece in pieces:
                audio = base64.b64encode(piece).decode()
                yield event_line({"type": "speech.audio.delta", "audio": audio})
        yield event_line({"type": "speech.audio.done", "usage": speaking.usage})
    except Exception as error:
        yield event_line(to_api_error(error).content)


def _headers(state: ServerState) -> dict[str, str]:
    return {**SYNTHETIC_HEADERS, "X-Sample-Rate": str(state.pipeline.sample_rate)}
