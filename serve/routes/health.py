"""`/health`: the process answers; `/ready`: it takes requests."""

from __future__ import annotations

from fastapi import APIRouter

from ..errors import ApiError
from ..state import State

router = APIRouter(tags=["health"])


@router.get("/health")
async def health() -> dict[str, str]:
    """Whether the process answers."""
    return {"status": "ok"}


@router.get("/ready")
async def ready(state: State) -> dict[str, str]:
    """Whether the server takes requests; 503 while it stops."""
    if state.draining:
        raise ApiError(503, "the server stops", code="stopping")
    return {"status": "ready"}
