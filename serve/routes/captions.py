"""`POST /v1/audio/captions`: a description of a sound or of music."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Form, Request, Response, UploadFile
from fastapi.responses import JSONResponse, PlainTextResponse
from pydantic import BaseModel, ConfigDict, Field

from ...tasks.pipelines.options import DEFAULT
from ...tasks.pipelines.outputs import Transcript
from ..limits import in_time
from ..recognition import caption
from ..state import State
from ..uploads import read_upload

router = APIRouter(tags=["captions"])
_TASKS = {"sound": "audio_caption", "music": "music_caption"}


class CaptionForm(BaseModel):
    """Fields of the form."""

    model_config = ConfigDict(extra="forbid")

    file: UploadFile = Field(description="audio; its first 20 s are described")
    model: str | None = None
    kind: Literal["sound", "music"] = "sound"
    response_format: Literal["json", "text"] = "json"
    adapter: str | None = None
    seed: int = Field(0, ge=0, lt=2**31)


FormOfRequest = Annotated[CaptionForm, Form(media_type="multipart/form-data")]


@router.post("/v1/audio/captions")
async def create_caption(form: FormOfRequest, request: Request, state: State) -> Response:
    """Describe an uploaded recording; the caption of silence is empty."""
    adapter = state.adapter_of(form.model, form.adapter)
    task = _TASKS[form.kind]
    state.check_task(task)
    wav = await read_upload(state, form.file)

    async def work() -> Transcript:
        return await caption(
            state, wav, task=task, options=DEFAULT, seed=form.seed, adapter=adapter
        )

    found = await in_time(request, work())
    if form.response_format == "text":
        return PlainTextResponse(found.text)
    return JSONResponse(
        {
            "text": found.text,
            "duration": found.duration,
            "confidence": found.confidence,
            "silent": found.silent,
        }
    )
