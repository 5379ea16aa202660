"""Requests that do not end as usual: a full queue, no time, a client that leaves."""

import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from ..pace import wait_until

httpx = pytest.importorskip("httpx")
pytest.importorskip("fastapi")

SPEECH = "/v1/audio/speech"
LONG = (
    "She said that the old house by the river had stood empty for many years before they came. " * 6
)


def body(text: str = LONG, format: str = "pcm") -> dict:
    return {"model": "mini", "input": text, "voice": "default", "response_format": format}


def raw_request(server, fields: dict) -> socket.socket:
    """Send a request over a socket of our own."""
    request = httpx.Request("POST", server.url + SPEECH, json=fields, headers=server.headers)
    lines = [f"{name}: {value}" for name, value in request.headers.items()]
    head = "\r\n".join([f"POST {SPEECH} HTTP/1.1", *lines, "", ""])
    client = socket.create_connection(("127.0.0.1", server.port))
    client.sendall(head.encode() + request.content)
    return client


def cancelled(server) -> int:
    return server.state.scheduler.stats.rows_cancelled


@pytest.mark.parametrize("format", ["pcm", "mp3"])
def test_the_row_of_a_client_that_leaves_is_freed(server, format):
    """In the middle of a stream, and while a file is made."""
    before = cancelled(server)
    client = raw_request(server, body(format=format))
    if format == "pcm":
        assert client.recv(100).startswith(b"HTTP/1.1 200 OK")
    else:
        wait_until(lambda: server.state.scheduler.stats.running == 1)
    client.close()
    wait_until(lambda: cancelled(server) == before + 1 and server.is_idle())
    wait_until(lambda: not server.state.active)


def test_the_rows_of_slow_requests_are_freed(serving):
    with serving(request_timeout=0.01) as server:
        for format in ("pcm", "mp3"):
            response = httpx.post(
                server.url + SPEECH, json=body(format=format), headers=server.headers, timeout=300
            )
            if response.status_code == 200:  # the first sound was in time
                assert format == "pcm"
            else:
                assert response.status_code == 504
                assert response.json()["error"]["type"] == "timeout_error"
            wait_until(server.is_idle)
        assert server.state.scheduler.stats.rows_done == 0


def test_a_full_queue_says_when_to_come_again(serving):
    with serving(max_batch=1, max_queue=1) as server:
        stats = lambda: server.state.scheduler.stats  # noqa: E731
        with raw_request(server, body()):
            wait_until(lambda: stats().running == 1)
            with raw_request(server, body()):
                wait_until(lambda: stats().queued == 1)
                refused = httpx.post(server.url + SPEECH, json=body(), headers=server.headers)
        assert refused.status_code == 429
        assert int(refused.headers["retry-after"]) >= 1
        assert refused.json()["error"]["type"] == "rate_limit_error"
        wait_until(server.is_idle)


def test_the_server_stops_with_an_answer_to_requests_whose_time_is_over(serving, caplog):
    with ThreadPoolExecutor(1) as pool:
        with serving() as server:
            address, fields, headers = server.url + SPEECH, body(format="mp3"), server.headers
            post = partial(httpx.post, address, json=fields, headers=headers, timeout=300)
            answer = pool.submit(post)
            wait_until(lambda: server.state.scheduler.stats.running == 1)
            server.state.draining = True
        response = answer.result()
    assert response.status_code == 503
    assert response.json()["error"]["code"] == "stopping"
    assert not [record for record in caplog.records if record.exc_info]


def test_metrics_count_requests_and_rows(server):
    def value(name: str) -> float:
        text = httpx.get(f"{server.url}/metrics", headers=server.headers).text
        lines = [line.rpartition(" ") for line in text.splitlines() if line.startswith(name)]
        return sum(float(number) for _, _, number in lines)

    ok = 'almtok_requests_total{method="POST",route="/v1/audio/speech",status="200"}'
    names = (ok, "almtok_generation_steps_total", "almtok_audio_seconds_total",
             "almtok_first_sound_seconds_count", 'almtok_rows_total{outcome="done"}')  # fmt: skip
    before = [value(name) for name in names]
    threads = [
        threading.Thread(
            target=httpx.post,
            args=(server.url + SPEECH,),
            kwargs={"json": body("Hi."), "headers": server.headers, "timeout": 300},
        )
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    requests, steps, seconds, sounds, rows = (
        value(name) - old for name, old in zip(names, before, strict=True)
    )
    assert requests == sounds == rows == 2
    assert steps >= 2 and 0 < seconds < 20
    assert value("almtok_queued_rows") == value("almtok_running_rows") == 0


def test_clients_do_not_invent_labels_of_metrics(server):
    httpx.request("BREW", f"{server.url}/coffee", headers=server.headers)
    text = httpx.get(f"{server.url}/metrics", headers=server.headers).text
    assert "coffee" not in text and "BREW" not in text
