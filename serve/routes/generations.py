"""`POST /v1/audio/generations`: sound and music from a description.

Shapes: `S` samples.
"""

from __future__ import annotations

import asyncio
import base64
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from ...core.audio import Waveform
from ...tasks.base import get_task
from ...tasks.pipelines.audio_generation import check_level, draw_seed, redraw_seed, tries
from ...tasks.pipelines.options import GenerationOptions
from ..errors import ApiError
from ..formats import MEDIA_TYPES, SYNTHETIC_HEADERS, check_format, encode_audio
from ..limits import in_time
from ..state import ServerState, State

router = APIRouter(tags=["generations"])
_TASKS = {"sound": "text_to_audio", "music": "text_to_music"}
_CHUNK_FRAMES = 16  # decoded at once: nobody waits for the beginning


class GenerationBody(BaseModel):
    """Fields of the body; what is left out has the default of the task."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    prompt: str = Field(min_length=1, description="what is to be heard")
    kind: Literal["sound", "music"] = "sound"
    model: str | None = None
    seconds: float | None = Field(None, gt=0, description="longest duration")
    seed: int = Field(0, ge=0, lt=2**31)
    n: int = Field(1, ge=1, le=10, description="draws; more than one are sent as JSON")
    guidance_scale: float | None = Field(None, ge=0, le=20)
    temperature: float | None = Field(None, ge=0, le=2)
    top_k: int | None = Field(None, ge=0, le=2**16)
    top_p: float | None = Field(None, gt=0, le=1)
    response_format: str = "mp3"
    adapter: str | None = None


@dataclass(frozen=True)
class _Made:
    """A draw that is kept: the loudest one of its tries."""

    wav: Waveform  # [S]
    seed: int
    tries: int
    level_dbfs: float | None
    silent: bool


@router.post(
    "/v1/audio/generations",
    response_class=Response,
    responses={200: {"content": {"audio/*": {}, "application/json": {}}}},
)
async def create_audio(body: GenerationBody, request: Request, state: State) -> Response:
    """Make a sound or music.

    A draw that is nearly silent is drawn again, up to three times. With `n` of 1 the response is
    the audio, else JSON with the draws in base64.
    """
    adapter = state.adapter_of(body.model, body.adapter)
    task = _TASKS[body.kind]
    state.check_task(task)
    check_format(body.response_format)
    settings = state.settings
    if len(body.prompt) > settings.max_text_chars:
        message = f"prompt must have at most {settings.max_text_chars} characters"
        raise ApiError(400, f"{message}, got {len(body.prompt)}", param="prompt")
    if body.seconds is not None and body.seconds > settings.max_audio_seconds:
        message = f"seconds must be at most {settings.max_audio_seconds:g}, got {body.seconds:g}"
        raise ApiError(400, message, param="seconds")
    made = await in_time(request, _draws(state, task, body, adapter))
    if body.n == 1:
        data = await encode_audio(state, made[0].wav, body.response_format)
        return Response(
            data, media_type=MEDIA_TYPES[body.response_format], headers=SYNTHETIC_HEADERS
        )
    draws = [await _described(state, one, body.response_format) for one in made]
    return JSONResponse(
        {"format": body.response_format, "sample_rate": state.pipeline.sample_rate, "data": draws},
        headers=SYNTHETIC_HEADERS,
    )


async def _draws(
    state: ServerState, task: str, body: GenerationBody, adapter: str | None
) -> list[_Made]:
    """All draws, at the same time; none is left running when one fails."""
    options = GenerationOptions(
        guidance_scale=body.guidance_scale,
        temperature=body.temperature,
        top_k=body.top_k,
        top_p=body.top_p,
    )
    longest = min(get_task(task).max_seconds, state.settings.max_audio_seconds)
    arguments = await state.prepared(
        state.pipeline.prompt, task, [{"text": body.prompt}],
        seconds=[body.seconds or longest], options=options,
    )  # fmt: skip
    most = tries(task, options)
    draws = [
        asyncio.ensure_future(
            _draw(state, task, arguments, draw_seed(body.seed, k), adapter, most, admitted=k > 0)
        )
        for k in range(body.n)
    ]
    try:
        return await asyncio.gather(*draws)
    finally:
        for draw in draws:
            draw.cancel()
        await asyncio.gather(*draws, return_exceptions=True)


async def _draw(
    state: ServerState,
    task: str,
    arguments: dict[str, Any],
    seed: int,
    adapter: str | None,
    most: int,
    *,
    admitted: bool,
) -> _Made:
    """One draw, again with another seed while it is nearly silent, `most` times in all."""
    best: _Made | None = None
    for attempt in range(most):
        job = await state.submit(
            arguments, seed=redraw_seed(seed, attempt), adapter=adapter,
            chunk_frames=_CHUNK_FRAMES, admitted=admitted or attempt > 0,
        )  # fmt: skip
        try:
            wav = np.concatenate([chunk.waveform async for chunk in job.chunks()])
        finally:
            job.cancel()
        level, silent = check_level(task, wav, state.pipeline.sample_rate)
        made = _Made(wav, seed, attempt + 1, level, silent)
        if best is None or (level or 0.0) > (best.level_dbfs or 0.0):
            best = made
        if not silent:
            break
    assert best is not None  # at least one attempt
    return replace(best, tries=attempt + 1)


async def _described(state: ServerState, made: _Made, name: str) -> dict[str, Any]:
    data = await encode_audio(state, made.wav, name)
    return {
        "b64_audio": base64.b64encode(data).decode(),
        "seed": made.seed,
        "seconds": len(made.wav) / state.pipeline.sample_rate,
        "tries": made.tries,
        "silent": made.silent,
    }
