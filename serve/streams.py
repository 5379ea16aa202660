"""Responses that are made while they are sent: bytes, and server-sent events."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from fastapi.responses import StreamingResponse
from starlette.types import Send

from .errors import to_api_error

logger = logging.getLogger(__name__)
Event = dict[str, Any]
_NO_BUFFER = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}  # the latter for nginx

LAST_EVENT_SECONDS = 5.0  # after the time of a request, for the event that says that it is over


class ClosingStream(StreamingResponse):
    """A response whose source is closed when the client leaves, so that it frees its row.

    An error in the middle ends the connection, so that the client sees that data is missing. So
    does a client that does not read for too long.
    """

    def __init__(
        self,
        source: AsyncGenerator[bytes, None],
        headers: dict[str, str],
        media_type: str,
        seconds: float,
    ) -> None:
        """Make a response.

        Args:
            source: of the bytes.
            headers: of the response.
            media_type: of the bytes.
            seconds: longest time for all of them.
        """
        super().__init__(source, headers=headers, media_type=media_type)
        self.source, self.seconds = source, seconds

    async def stream_response(self, send: Send) -> None:
        """Send the bytes of the source, and close it."""
        try:
            async with asyncio.timeout(self.seconds), aclosing(self.source):
                await super().stream_response(send)
        except Exception as error:
            logger.warning("a stream was cut off: %s", to_api_error(error).detail)


def event_line(event: Event) -> bytes:
    """A server-sent event with JSON."""
    return f"data: {json.dumps(event, ensure_ascii=False)}\n\n".encode()


def event_stream(events: AsyncGenerator[Event, None], seconds: float) -> ClosingStream:
    """Send events; an error is the last event.

    Args:
        events: closed when they are sent, or the client has left.
        seconds: longest time for all of them.
    """
    lines = _lines(events, seconds)
    return ClosingStream(lines, _NO_BUFFER, "text/event-stream", seconds + LAST_EVENT_SECONDS)


async def _lines(
    events: AsyncGenerator[Event, None], seconds: float
) -> AsyncGenerator[bytes, None]:
    end = time.monotonic() + seconds
    async with aclosing(events):
        try:
            while True:
                left = max(0.0, end - time.monotonic())
                yield event_line(await asyncio.wait_for(anext(events), left))
        except StopAsyncIteration:
            return
        except Exception as error:  # the response has begun: its status cannot tell
            yield event_line(to_api_error(error).content)
