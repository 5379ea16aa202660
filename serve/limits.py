"""Limits of a request: its key, the size of its body, its time; cancelled if the client leaves."""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Awaitable
from typing import TypeVar

from fastapi import Request
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .errors import ApiError
from .state import ServerState, State, state_of

T = TypeVar("T")
CLIENT_LEFT = 499  # the status that nginx logs


def require_key(connection: HTTPConnection, state: State) -> None:
    """Check the bearer token, in constant time.

    Raises:
        ApiError: 401 if the server has a key and the request has another one or none.
    """
    key = state.settings.api_key
    if key is None:
        return
    scheme, _, token = connection.headers.get("authorization", "").partition(" ")
    same = hmac.compare_digest(token.strip().encode(), key.encode())
    if scheme.lower() != "bearer" or not same:
        raise ApiError(
            401, "send the key of this server as 'Authorization: Bearer KEY'",
            code="invalid_api_key", headers={"WWW-Authenticate": "Bearer"},
        )  # fmt: skip


async def in_time(request: Request, work: Awaitable[T], seconds: float | None = None) -> T:
    """Wait for work on a request as long as the client listens and its time lasts.

    The work is cancelled otherwise.

    Args:
        request: whose body was read.
        work: a coroutine, which frees what it holds when it is cancelled.
        seconds: longest time; by default the server's `request_timeout`.

    Raises:
        ApiError: 504 if the time is over; 499 if the client has left.
    """
    if seconds is None:
        seconds = state_of(request).settings.request_timeout
    task = asyncio.ensure_future(work)
    left = asyncio.ensure_future(_disconnected(request))
    try:
        await asyncio.wait({task, left}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        if left.done():
            raise ApiError(CLIENT_LEFT, "the client has left")
        raise ApiError(504, f"the request took more than {seconds:g} s", code="timeout")
    finally:
        for waiting in (task, left):
            waiting.cancel()
        await asyncio.gather(task, left, return_exceptions=True)


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


class BodyLimit:
    """ASGI middleware: no body is read without the key, and none that is too large.

    The latter is refused with 413, with or without its length.
    """

    def __init__(self, app: ASGIApp, state: ServerState) -> None:
        self.app, self.state = app, state
        self.most = state.settings.max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        length = dict(scope["headers"]).get(b"content-length", b"0")
        announced = int(length) if length.isdigit() else 0
        count = 0

        async def limited() -> Message:
            nonlocal count
            require_key(HTTPConnection(scope), self.state)
            if announced > self.most:
                raise self._too_large()
            message = await receive()
            count += len(message.get("body", b""))
            if count > self.most:
                raise self._too_large()
            return message

        await self.app(scope, limited, send)

    def _too_large(self) -> ApiError:
        most = f"{self.most / 1_000_000:g} MB"
        return ApiError(413, f"the body of a request must be at most {most}", code="too_large")
