"""Speech that a browser plays while it is made: samples on their way from a job to a request.

The browser draws a ticket, sends it with the job and fetches ``speech/TICKET``. Job and request may
come in either order.
"""

from __future__ import annotations

import queue
import re
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from ...core.pcm import pcm

_TICKET = re.compile(r"[0-9a-f]{32}")
_MOST = 64  # streams that are kept; the oldest one is dropped for a new one
_PATIENCE = 600.0  # seconds that a request waits for the next samples: a job may wait in the queue
_LOOK = 0.5  # seconds between looks at whether the request was cancelled


class SpeechStream:
    """16-bit samples of one job."""

    def __init__(self) -> None:
        self._chunks: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()

    def write(self, wav: Any) -> None:
        """Send samples [S] in [-1, 1]."""
        self._chunks.put(pcm(wav))

    def close(self) -> None:
        """End the stream."""
        self._chunks.put(None)

    def read(self) -> Iterator[bytes]:
        """Yield the chunks as they come; empty ones while there is none."""
        until = time.monotonic() + _PATIENCE
        while time.monotonic() < until:
            try:
                chunk = self._chunks.get(timeout=_LOOK)
            except queue.Empty:
                yield b""
                continue
            if chunk is None:
                return
            yield chunk
            until = time.monotonic() + _PATIENCE


class SpeechStreams:
    """The streams of all visitors, by ticket."""

    def __init__(self, sample_rate: int) -> None:
        self.sample_rate = sample_rate  # Hz
        self._streams: OrderedDict[str, SpeechStream] = OrderedDict()
        self._lock = threading.Lock()

    @contextmanager
    def writing(self, ticket: str | None) -> Iterator[SpeechStream]:
        """The stream of a ticket, which ends with the block; without a ticket nobody reads it."""
        stream = self._get(ticket) if ticket else SpeechStream()
        try:
            yield stream
        finally:
            stream.close()

    def route(self) -> Route:
        """The route ``/speech/{ticket}``: samples as 16-bit little-endian PCM, mono."""
        return Route("/speech/{ticket}", self._answer)

    async def _answer(self, request: Request) -> Response:
        ticket = request.path_params["ticket"]
        try:
            stream = self._get(ticket)
        except ValueError as error:
            return PlainTextResponse(str(error), 404)
        headers = {"X-Sample-Rate": str(self.sample_rate), "Cache-Control": "no-store"}
        return StreamingResponse(
            self._read(ticket, stream), media_type="application/octet-stream", headers=headers
        )

    def _read(self, ticket: str, stream: SpeechStream) -> Iterator[bytes]:
        try:
            yield from stream.read()
        finally:
            with self._lock:
                self._streams.pop(ticket, None)

    def _get(self, ticket: str) -> SpeechStream:
        if not _TICKET.fullmatch(ticket):
            raise ValueError(f"a ticket has 32 hexadecimal digits, got {ticket:.40}")
        with self._lock:
            if ticket not in self._streams:
                self._streams[ticket] = SpeechStream()
                while len(self._streams) > _MOST:
                    self._streams.popitem(last=False)
            return self._streams[ticket]
