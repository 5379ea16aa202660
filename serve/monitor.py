"""Monitor: counts and logs requests, and refuses new ones while the server stops."""

from __future__ import annotations

import asyncio
import logging
import time

from fastapi.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .errors import ApiError
from .limits import CLIENT_LEFT
from .state import ServerState

logger = logging.getLogger(__name__)

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "WEBSOCKET"})
_QUIET = frozenset({"/health", "/ready", "/metrics"})  # not logged; answered while the server stops


class Monitor:
    """ASGI middleware around all routes."""

    def __init__(self, app: ASGIApp, state: ServerState) -> None:
        self.app, self.state = app, state

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        status, start = CLIENT_LEFT, time.perf_counter()

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] in ("http.response.start", "websocket.http.response.start"):
                status = message["status"]
            elif message["type"] == "websocket.accept":
                status = 101
            await send(message)

        self.state.active += 1
        try:
            if self.state.draining and scope["path"] not in _QUIET:
                await self._refuse(scope, receive, watched)
            else:
                await self.app(scope, receive, watched)
        except asyncio.CancelledError:  # by uvicorn, when the time for running requests is over
            if not self.state.draining:
                raise
            if scope["type"] == "http" and status == CLIENT_LEFT:
                await self._refuse(scope, receive, watched)
        finally:
            self.state.active -= 1
            self._note(scope, status, time.perf_counter() - start)

    async def _refuse(self, scope: Scope, receive: Receive, send: Send) -> None:
        error = ApiError(503, "the server stops", code="stopping")
        headers = {"Retry-After": "5", "Connection": "close"}
        await JSONResponse(error.content, 503, headers)(scope, receive, send)

    def _note(self, scope: Scope, status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", "none")
        method = scope.get("method", "WEBSOCKET")
        method = method if method in _METHODS else "OTHER"  # clients must not invent labels
        self.state.metrics.count(method, route, status, seconds)
        if scope["path"] not in _QUIET:
            logger.info("%s %s %d %.2f s", method, route, status, seconds)
