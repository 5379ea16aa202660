"""`/v1/codec/encode` and `/v1/codec/decode`: codes and audio are those of the codec."""

from pathlib import Path

import numpy as np
import pytest
import torch

from almtok.codec.tokens import AudioTokens
from almtok.core.audio import read_audio

httpx = pytest.importorskip("httpx")
pytest.importorskip("fastapi")

VOICE = Path(__file__).resolve().parents[1] / "codec" / "fixtures" / "kathleen_a0119.flac"
ENCODE, DECODE = "/v1/codec/encode", "/v1/codec/decode"


@pytest.fixture
def http(server):
    with httpx.Client(base_url=server.url, headers=server.headers, timeout=300) as client:
        yield client


@pytest.fixture(scope="module")
def codec(served_pipeline):
    return served_pipeline.codec


@pytest.fixture(scope="module")
def tokens(codec):
    return codec.tokenize(VOICE)


@pytest.fixture(scope="module")
def body(tokens):
    """As JSON."""
    return {
        "codes": tokens.codes.tolist(),
        "frames_per_query": tokens.frames_per_query,
        "num_samples": tokens.num_samples,
        "sample_rate": tokens.sample_rate,
        "fingerprint": tokens.fingerprint,
    }


def upload(data: bytes, name: str = "a.flac") -> dict:
    return {"file": (name, data)}


def test_codes_as_json_and_as_a_file(http, codec, tokens, body):
    files = upload(VOICE.read_bytes())
    assert http.post(ENCODE, files=files).json() == body
    found = http.post(ENCODE, data={"response_format": "safetensors"}, files=files)
    assert found.headers["content-type"] == "application/octet-stream"
    assert AudioTokens.from_bytes(found.content).codes.equal(tokens.codes)
    slow = http.post(ENCODE, data={"frames_per_query": "4"}, files=files).json()
    assert slow["codes"] == codec.tokenize(VOICE, frames_per_query=4).codes.tolist()


@pytest.mark.parametrize("kind", ["json", "file"])
def test_the_audio_is_that_of_the_codec(http, codec, tokens, body, kind):
    if kind == "json":
        found = http.post(DECODE, json=body)
    else:
        found = http.post(DECODE, files=upload(tokens.to_bytes(), "a.safetensors"))
    assert found.status_code == 200 and found.headers["content-type"] == "audio/wav"
    wav = read_audio(found.content)
    assert np.abs(wav - codec.detokenize(tokens).clamp(-1, 1).numpy()).max() < 1e-4


def test_other_formats(http, body):
    found = http.post(DECODE, json={**body, "response_format": "flac"})
    assert found.headers["content-type"] == "audio/flac"
    assert len(read_audio(found.content)) == body["num_samples"]


@pytest.mark.parametrize(
    ("changes", "status", "words"),
    [
        ({"fingerprint": "other"}, 400, "tokens must be of codec"),
        ({"codes": []}, 400, "codes must be lists of one length"),
        ({"codes": [[1], [1, 2], [3]]}, 400, "codes must be lists of one length"),
        ({"codes": [[1]] * 4, "num_samples": 9}, 400, "1 to 3 codebooks, got 4"),
        ({"codes": [[65_535]], "num_samples": 9}, 400, "codes must lie in 0..2047"),
        ({"codes": [[-1]]}, 400, "codes: Input should be greater than or equal to 0"),
        ({"frames_per_query": 10_000}, 413, "at most 600 s long"),
        ({"codes": [[1]], "frames_per_query": 9_999, "num_samples": 1}, 400, "frames_per_query"),
        ({"num_samples": 10**9}, 400, "num_samples must be at most"),
        ({"sample_rate": 16_000}, 400, "sample_rate must be 24000"),
        ({"response_format": "midi"}, 400, "response_format must be one of"),
        ({"file": "x"}, 400, "unknown field 'file'"),
    ],
)
def test_tokens_that_cannot_be_decoded_are_refused(http, body, changes, status, words):
    found = http.post(DECODE, json={**body, **changes})
    assert found.status_code == status and words in found.json()["error"]["message"]


@pytest.mark.parametrize("damage", [0, 4, 100, -7])
def test_token_files_that_are_damaged_are_refused(http, tokens, damage):
    data = tokens.to_bytes()
    found = http.post(DECODE, files=upload(data[:damage] if damage else b""))
    assert found.status_code == 400
    assert found.json()["error"]["message"].startswith("file: not a readable safetensors file")


@pytest.mark.parametrize("content", [b"{", b"[" * 100_000, b"\xff", b"[1]", b"{}", b""])
def test_bodies_that_are_not_tokens_are_refused(http, content):
    headers = {"Content-Type": "application/json"}
    assert http.post(DECODE, content=content, headers=headers).status_code == 400
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    assert http.post(DECODE, content=content, headers=headers).status_code == 400
    assert http.post(DECODE, content=content).status_code == 415


def test_what_was_encoded_can_be_decoded(http, codec):
    """From one client to another, by the file alone."""
    data = {"response_format": "safetensors"}
    file = http.post(ENCODE, data=data, files=upload(VOICE.read_bytes())).content
    form = {"response_format": "pcm"}
    found = http.post(DECODE, data=form, files=upload(file))
    assert found.headers["x-synthetic-audio"].startswith("almtok/")
    heard = np.frombuffer(found.content, "<i2")
    assert len(heard) == len(read_audio(VOICE))
    assert torch.isfinite(codec.detokenize(AudioTokens.from_bytes(file))).all()
