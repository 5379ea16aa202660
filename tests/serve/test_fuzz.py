"""Requests that nobody would write: of the server's own schema, and damaged messages."""

import json
import random

import pytest

from ..loading.fuzz import damaged_json
from ..pace import patience

schemathesis = pytest.importorskip("schemathesis")
hypothesis = pytest.importorskip("hypothesis")
client = pytest.importorskip("websockets.sync.client")
pytest.importorskip("fastapi")

MESSAGES = (
    {"type": "speak", "text": "Hi.", "voice": "default", "seed": 1, "flush": False},
    {"type": "speak", "text": "", "guidance_scale": 1.5, "adapter": None},
    {"type": "flush"},
    {"type": "cancel"},
    {"type": "listen", "codes": True, "language": "en", "frames_per_query": 6},
    {"type": "finish"},
)


@pytest.fixture(scope="module")
def small(serving):
    """A server whose requests are soon answered."""
    with serving(max_text_chars=12, max_audio_seconds=0.5, max_upload_mb=0.2) as server:
        yield server


def test_no_request_of_the_schema_makes_an_internal_error(small):
    # Not by the plugin of schemathesis for pytest, which does not know its newest versions.
    schema = schemathesis.openapi.from_url(f"{small.url}/openapi.json")
    counts: dict[str, list[int]] = {}
    for operation in schema.get_all_operations():
        _send_requests(operation.ok(), small, counts.setdefault(operation.ok().path, []))
    assert {
        "/v1/audio/speech", "/v1/audio/transcriptions", "/v1/audio/captions",
        "/v1/audio/generations", "/v1/codec/encode", "/v1/codec/decode",
    } < set(counts)  # fmt: skip
    assert all(counts.values())


def _send_requests(operation, server, statuses):
    """Send requests that the schema allows; note their statuses."""

    @hypothesis.settings(
        max_examples=8, deadline=None, derandomize=True, database=None,
        suppress_health_check=list(hypothesis.HealthCheck),
    )  # fmt: skip
    @hypothesis.given(case=operation.as_strategy())
    def send(case):
        response = case.call(headers=server.headers, timeout=patience(60))
        statuses.append(response.status_code)
        assert response.status_code < 500, response.text
        if response.status_code >= 400:
            message = response.json()["error"]["message"]
            assert message and "\n" not in message

    send()


def test_no_message_makes_an_internal_error(small):
    draw = random.Random(0)
    url = small.url.replace("http", "ws") + "/v1/audio/stream"
    with client.connect(url, additional_headers=small.headers, max_size=None) as socket:
        for seed in range(150):
            if draw.random() < 0.2:
                socket.send(draw.randbytes(draw.choice((0, 1, 2, 999, 4800))))
            else:
                socket.send(damaged_json(draw.choice(MESSAGES), seed))
        socket.send('{"type": "the-end"}')
        told = []
        while True:
            frame = socket.recv(timeout=patience(60))
            if isinstance(frame, bytes):
                continue
            message = json.loads(frame)
            if message["type"] == "error":
                told.append(message["error"])
            if "the-end" in frame:
                break
    assert len(told) > 30
    assert not [error for error in told if error["type"] == "server_error"]
