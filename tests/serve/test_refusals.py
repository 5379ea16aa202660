"""Each error has its status, OpenAI's form and one sentence."""

import socket

import pytest

from ..pace import patience

httpx = pytest.importorskip("httpx")
pytest.importorskip("fastapi")

HELLO = {"model": "mini", "input": "Hello.", "voice": "default"}
SPEECH = "/v1/audio/speech"


@pytest.fixture
def http(server):
    with httpx.Client(base_url=server.url, headers=server.headers, timeout=300) as client:
        yield client


def error_of(response, status: int) -> dict:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    assert set(response.json()) == {"error"}
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["message"] and "\n" not in error["message"]
    return error


@pytest.mark.parametrize(
    ("fields", "param", "words"),
    [
        ({"input": None}, "input", "valid string"),
        ({"input": "  "}, "input", "the text is empty"),
        ({"input": "a" * 4097}, "input", "at most 4096 characters, got 4097"),
        ({"voice": "alloy"}, "voice", "must be one of default, got 'alloy'"),
        ({"voice": {"id": 3}}, "voice", "valid string"),
        ({"response_format": "ogg"}, "response_format", "opus, aac, flac, wav, pcm, got 'ogg'"),
        ({"stream_format": "ws"}, "stream_format", "'audio' or 'sse'"),
        ({"speed": 1.5}, "speed", "must be 1.0"),
        ({"instructions": "Whisper."}, "instructions", "not supported"),
        ({"seed": -1}, "seed", "greater than or equal to 0"),
        ({"guidance_scale": -1}, "guidance_scale", "greater than or equal to 0"),
        ({"guidance_scale": 1e308}, "guidance_scale", "less than or equal to 20"),
        ({"adapter": "joe"}, "adapter", "must be one of: none; got 'joe'"),
        ({"tone": "warm"}, "tone", "unknown field 'tone'"),
    ],
)  # fmt: skip
def test_wrong_fields_are_named(http, fields, param, words):
    error = error_of(http.post(SPEECH, json={**HELLO, **fields}), 400)
    assert error["param"] == param and error["type"] == "invalid_request_error"
    assert words in error["message"]


def test_a_missing_field_is_named(http):
    assert error_of(http.post(SPEECH, json={"model": "mini"}), 400)["param"] == "input"


def test_a_body_must_be_json(http):
    error = error_of(
        http.post(SPEECH, content=b"{", headers={"Content-Type": "application/json"}), 400
    )
    assert "not valid JSON" in error["message"]


def test_a_form_must_have_the_form_of_one(http):
    headers = {"Content-Type": "multipart/form-data"}
    error = error_of(http.post("/v1/audio/transcriptions", content=b"x", headers=headers), 400)
    assert error["message"] == "Missing boundary in multipart."


def test_an_unknown_model_is_not_found(http):
    error = error_of(http.post(SPEECH, json={**HELLO, "model": "tts-1"}), 404)
    assert error["code"] == "model_not_found" and "one of mini, got 'tts-1'" in error["message"]
    error_of(http.get("/v1/models/tts-1"), 404)


def test_unknown_routes_and_methods(http):
    assert "/v1/nothing" in error_of(http.get("/v1/nothing"), 404)["message"]
    assert "PUT" in error_of(http.put(SPEECH, json=HELLO), 405)["message"]


@pytest.mark.parametrize("header", [None, "Bearer wrong", "Basic a key of tests", "a key of tests"])
@pytest.mark.parametrize("path", ["/v1/models", "/metrics"])
def test_a_key_is_needed(server, path, header):
    headers = {} if header is None else {"Authorization": header}
    response = httpx.get(server.url + path, headers=headers)
    error = error_of(response, 401)
    assert error["code"] == "invalid_api_key"
    assert response.headers["www-authenticate"] == "Bearer"


def test_no_body_is_read_without_a_key(server):
    """The request has a length, but no body follows: a server that reads it does not answer."""
    lines = (f"POST {SPEECH} HTTP/1.1", "Host: a", "Content-Type: application/json",
             "Content-Length: 1000", "", "")  # fmt: skip
    with socket.create_connection(("127.0.0.1", server.port), timeout=patience(60)) as client:
        client.sendall("\r\n".join(lines).encode())
        assert client.recv(100).startswith(b"HTTP/1.1 401 ")


def test_clients_of_openai_raise_their_own_errors(server):
    openai = pytest.importorskip("openai")
    with pytest.raises(openai.AuthenticationError):
        openai.OpenAI(base_url=f"{server.url}/v1", api_key="wrong", max_retries=0).models.list()
    client = openai.OpenAI(base_url=f"{server.url}/v1", api_key=server.key, max_retries=0)
    with pytest.raises(openai.BadRequestError, match="voice must be one of default") as caught:
        client.audio.speech.create(model="mini", input="Hello.", voice="alloy")
    assert caught.value.param == "voice"
    with pytest.raises(openai.NotFoundError):
        client.audio.speech.create(model="tts-1", input="Hello.", voice="default")


def test_bodies_that_are_too_large_are_refused_with_and_without_a_length(serving):
    large = b'{"input": "' + b"a" * 2000 + b'"}'

    def pieces():
        yield large[:1000]
        yield large[1000:]

    with serving(max_upload_mb=0.001) as server:
        for content in (large, pieces()):
            headers = {**server.headers, "Content-Type": "application/json"}
            response = httpx.post(server.url + SPEECH, content=content, headers=headers)
            assert "at most 0.001 MB" in error_of(response, 413)["message"]


def test_speech_that_would_be_too_long_is_refused_before_it_is_made(serving):
    with serving(max_audio_seconds=1) as server:
        body = {**HELLO, "input": "These words take more than a second to say."}
        response = httpx.post(server.url + SPEECH, json=body, headers=server.headers)
        assert "at most 1 s of speech, got about 3 s" in error_of(response, 400)["message"]
