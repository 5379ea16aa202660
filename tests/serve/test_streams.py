"""Responses that are made while they are sent."""

import asyncio

import pytest

pytest.importorskip("fastapi")

from almtok.serve.streams import ClosingStream  # noqa: E402


def test_a_client_that_does_not_read_is_left(caplog):
    closed = []

    async def source():
        try:
            while True:
                yield bytes(1000)
        finally:
            closed.append(True)

    async def send(message):
        """Take the head of the response, but no bytes."""
        if message["type"] == "http.response.body":
            await asyncio.Event().wait()

    response = ClosingStream(source(), {}, "audio/pcm", 0.01)
    asyncio.run(response.stream_response(send))
    assert closed == [True]
    assert caplog.messages == ["a stream was cut off: the request took too long and was cancelled"]
