"""`POST /v1/codec/encode` and `/v1/codec/decode`: audio to codes, and codes to audio.

Shapes: `K` codebooks, `Q` frames of codes.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import torch
from fastapi import APIRouter, Form, Request, Response, UploadFile
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ...codec.tokens import AudioTokens
from ...core.audio import Waveform
from ..errors import ApiError
from ..formats import MEDIA_TYPES, SYNTHETIC_HEADERS, check_format, encode_audio
from ..limits import in_time
from ..state import ServerState, State
from ..uploads import read_upload, too_long

router = APIRouter(tags=["codec"])
_FILE = {"Content-Disposition": 'attachment; filename="tokens.safetensors"'}
_MULTIPART = "multipart/form-data"
Code = Annotated[int, Field(ge=0, lt=2**16)]


class EncodeForm(BaseModel):
    """Fields of the form of `/v1/codec/encode`."""

    model_config = ConfigDict(extra="forbid")

    file: UploadFile = Field(description="audio")
    frames_per_query: int | None = Field(None, ge=1, le=10_000, description="default: the codec's")
    response_format: Literal["json", "safetensors"] = "json"


class TokensBody(BaseModel):
    """Tokens as JSON: what `/v1/codec/encode` returns, and the body of `/v1/codec/decode`."""

    model_config = ConfigDict(extra="forbid")

    codes: list[list[Code]] = Field(description="K lists of Q codes")
    frames_per_query: int = Field(ge=1, le=10_000)
    num_samples: int = Field(ge=1, lt=2**40)
    sample_rate: int = Field(ge=1, lt=2**31)
    fingerprint: str
    response_format: str = "wav"


class DecodeForm(BaseModel):
    """Fields of the form of `/v1/codec/decode`."""

    model_config = ConfigDict(extra="forbid")

    file: UploadFile = Field(description="a token file, as of `almtok encode`")
    response_format: str = "wav"


EncodeRequest = Annotated[EncodeForm, Form(media_type=_MULTIPART)]


@router.post("/v1/codec/encode")
async def encode(form: EncodeRequest, request: Request, state: State) -> Response:
    """Encode an uploaded recording; the codes are those of `almtok encode`."""
    wav = await read_upload(state, form.file)

    async def work() -> AudioTokens:
        samples = torch.from_numpy(wav)
        found: AudioTokens = await state.with_codec(
            state.pipeline.codec.tokenize, samples, frames_per_query=form.frames_per_query
        )
        return found

    tokens = await in_time(request, work())
    if form.response_format == "safetensors":
        return Response(tokens.to_bytes(), media_type="application/octet-stream", headers=_FILE)
    return JSONResponse(
        {
            "codes": tokens.codes.tolist(),
            "frames_per_query": tokens.frames_per_query,
            "num_samples": tokens.num_samples,
            "sample_rate": tokens.sample_rate,
            "fingerprint": tokens.fingerprint,
        }
    )


def _schema(model: type[BaseModel]) -> dict[str, Any]:
    return {"schema": model.model_json_schema()}


@router.post(
    "/v1/codec/decode",
    response_class=Response,
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {
                "application/json": _schema(TokensBody), _MULTIPART: _schema(DecodeForm),
            },
        }
    },
)  # fmt: skip
async def decode(request: Request, state: State) -> Response:
    """Decode tokens, as JSON or as an uploaded token file, to audio."""
    tokens, response_format = await _tokens(request)
    check_format(response_format)
    _check(state, tokens)

    async def work() -> Waveform:
        samples = await state.with_codec(state.pipeline.decode, tokens)
        wav: Waveform = samples.numpy()
        return wav

    wav = await in_time(request, work())
    data = await encode_audio(state, wav, response_format)
    return Response(data, media_type=MEDIA_TYPES[response_format], headers=SYNTHETIC_HEADERS)


async def _tokens(request: Request) -> tuple[AudioTokens, str]:
    """The tokens of a request, and the format of the response.

    Raises:
        RequestValidationError: for a body that has not the form of tokens.
        ValueError: for a token file that cannot be read.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    try:
        if kind == "application/json":
            body = TokensBody.model_validate_json(await request.body())
            return _of_body(body), body.response_format
        if kind != _MULTIPART:
            message = f"the body must be application/json or {_MULTIPART}, got {kind or 'neither'}"
            raise ApiError(415, message)
        fields = await request.form()
        form = DecodeForm.model_validate(dict(fields))
        data = await form.file.read()
        return AudioTokens.from_bytes(data, "file"), form.response_format
    except ValidationError as error:
        raise RequestValidationError(error.errors()) from error


def _of_body(body: TokensBody) -> AudioTokens:
    lengths = {len(row) for row in body.codes}
    if len(lengths) != 1 or 0 in lengths:
        message = "codes must be lists of one length, at least 1"
        raise ApiError(400, f"{message}, got lengths {sorted(lengths)[:4]}", param="codes")
    codes = torch.tensor(body.codes, dtype=torch.int64)
    return AudioTokens(
        codes, body.frames_per_query, body.num_samples, body.sample_rate, body.fingerprint
    )


def _check(state: ServerState, tokens: AudioTokens) -> None:
    """Check what decoding does not.

    Raises:
        ApiError: for another sample rate, or lengths that do not agree.
    """
    codec = state.pipeline.codec
    if tokens.sample_rate != codec.sample_rate:
        message = f"sample_rate must be {codec.sample_rate}, got {tokens.sample_rate}"
        raise ApiError(400, message, param="sample_rate")
    samples = tokens.codes.shape[1] * tokens.frames_per_query * codec.config.hop_length
    most = state.settings.max_audio_seconds
    if samples > most * codec.sample_rate:
        raise too_long(most, "codes")
    if tokens.num_samples > samples:
        message = f"num_samples must be at most {samples}, as the codes, got {tokens.num_samples}"
        raise ApiError(400, message, param="num_samples")
