"""Errors in the form of OpenAI: `{"error": {"message", "type", "param", "code"}}`."""

from __future__ import annotations

import logging
from typing import Any

from fastapi import FastAPI, HTTPException, Request, WebSocket
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.websockets import WebSocketState

from .scheduler import QueueFull

logger = logging.getLogger(__name__)

_TYPES = {
    401: "authentication_error", 429: "rate_limit_error", 500: "server_error",
    503: "server_error", 504: "timeout_error",
}  # fmt: skip
_POLICY_VIOLATION, _TRY_AGAIN_LATER = 1008, 1013  # close codes of WebSocket


class ApiError(HTTPException):
    """An error that a client is told.

    A subclass of FastAPI's exception, so that it passes through the parsing of a body.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        """Make an error.

        Args:
            status: of HTTP.
            message: one sentence.
            param: name of the field that is wrong.
            code: short name of the error for programs.
            headers: of the response.
        """
        super().__init__(status, message, headers)
        self.param, self.code = param, code

    @property
    def content(self) -> dict[str, Any]:
        """Body of the response."""
        kind = _TYPES.get(self.status_code, "invalid_request_error")
        error = {"message": self.detail, "type": kind, "param": self.param, "code": self.code}
        return {"error": error}


def queue_full(error: QueueFull) -> ApiError:
    """The response to a request for which there is no room."""
    seconds = max(1, round(error.retry_after))
    return ApiError(
        429, f"the queue is full: try again in {seconds} s", code="queue_full",
        headers={"Retry-After": str(seconds)},
    )  # fmt: skip


def add_error_handlers(app: FastAPI) -> None:
    """Answer all errors of an app in the form of OpenAI."""

    async def known(connection: Request | WebSocket, error: Exception) -> Response | None:
        if isinstance(error, StarletteHTTPException) and not isinstance(error, ApiError):
            if error.status_code in (404, 405) and isinstance(connection, Request):
                error = _no_route(connection, error)
        return await _answer(connection, to_api_error(error))

    async def unknown(connection: Request, error: Exception) -> Response:
        return JSONResponse(ApiError(500, "internal error").content, 500)

    for kind in (StarletteHTTPException, RequestValidationError, QueueFull, ValueError):
        app.add_exception_handler(kind, known)  # type: ignore[arg-type]
    app.add_exception_handler(Exception, unknown)


def to_api_error(error: Exception) -> ApiError:
    """What a client is told about an exception; ValueError is bad input."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, QueueFull):
        return queue_full(error)
    if isinstance(error, TimeoutError):
        return ApiError(504, "the request took too long and was cancelled", code="timeout")
    if isinstance(error, StarletteHTTPException):
        return ApiError(error.status_code, str(error.detail), headers=dict(error.headers or {}))
    if isinstance(error, RequestValidationError):
        return _invalid(error)
    if isinstance(error, ValueError):
        return ApiError(400, " ".join(str(error).split()))
    logger.error("internal error", exc_info=error)
    return ApiError(500, "internal error")


def _no_route(request: Request, error: Any) -> ApiError:
    """The error of a path or method that the server does not have."""
    message = f"no route {request.method} {request.url.path}: {error.detail}"
    return ApiError(error.status_code, message, headers=dict(error.headers or {}))


def _invalid(error: RequestValidationError) -> ApiError:
    """The first problem of a request, with the name of its field."""
    first = error.errors()[0]
    names = [str(name) for name in first["loc"] if name not in ("body", "query", "path")]
    name = names[0] if names else None
    if first["type"] == "extra_forbidden":
        return ApiError(400, f"unknown field {name!r}", param=name, code="unknown_parameter")
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "json_invalid":
        return ApiError(400, f"the body is not valid JSON: {first['ctx']['error']}")
    return ApiError(400, f"{name}: {message}" if name else message, param=name)


async def _answer(connection: Request | WebSocket, error: ApiError) -> Response | None:
    response = JSONResponse(error.content, error.status_code, error.headers)
    if isinstance(connection, WebSocket):
        if connection.application_state == WebSocketState.CONNECTING:
            await connection.send_denial_response(response)
            return None
        code = _TRY_AGAIN_LATER if error.status_code in (429, 503) else _POLICY_VIOLATION
        await connection.close(code, error.detail[:100])
        return None
    return response
