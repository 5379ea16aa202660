"""`/v1/models`, `/v1/audio/voices` and `/metrics`."""

from __future__ import annotations

import time
from typing import Any

from fastapi import APIRouter, Response

from ..state import ServerState, State

router = APIRouter(tags=["models"])
DEFAULT_VOICE = "default"
_STARTED = int(time.time())
_PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"


@router.get("/v1/models")
async def list_models(state: State) -> dict[str, Any]:
    """The model, its further names, and its adapters."""
    names = [*state.settings.names, *state.settings.adapters]
    return {"object": "list", "data": [_model(state, name) for name in names]}


@router.get("/v1/models/{name}")
async def get_model(name: str, state: State) -> dict[str, Any]:
    """One of the listed models."""
    state.check_model(name)
    return _model(state, name)


@router.get("/v1/audio/voices")
async def list_voices(state: State) -> dict[str, Any]:
    """The voices of the model; the first one is the default."""
    voices = [{"id": name, "object": "audio.voice", "name": name} for name in voice_names(state)]
    return {"object": "list", "data": voices}


@router.get("/metrics")
async def metrics(state: State) -> Response:
    """Metrics for Prometheus."""
    return Response(state.metrics.text(), media_type=_PROMETHEUS)


def voice_names(state: ServerState) -> list[str]:
    """Names of the voices in requests; of a model without voices only "default"."""
    return list(state.pipeline.lm.config.voices) or [DEFAULT_VOICE]


def _model(state: ServerState, name: str) -> dict[str, Any]:
    config = state.pipeline.lm.config
    root = state.settings.names[0]
    return {
        "id": name, "object": "model", "created": _STARTED, "owned_by": "almtok",
        "root": root, "parent": None if name == root else root, "tasks": list(config.tasks),
        "sample_rate": state.pipeline.sample_rate,
    }  # fmt: skip
