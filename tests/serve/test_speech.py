"""`/v1/audio/speech` as clients meet it: OpenAI's own, httpx and curl."""

import base64
import io
import json
import shutil
import subprocess

import numpy as np
import pytest
import soundfile

from almtok.core.audio import read_audio
from almtok.tasks.pipelines.text_to_speech import TextToSpeech

httpx = pytest.importorskip("httpx")
pytest.importorskip("fastapi")

HELLO = {"model": "mini", "input": "Hello.", "voice": "default"}


@pytest.fixture
def http(server):
    with httpx.Client(base_url=server.url, headers=server.headers, timeout=300) as client:
        yield client


@pytest.fixture(scope="module")
def openai_client(server):
    openai = pytest.importorskip("openai")
    return openai.OpenAI(base_url=f"{server.url}/v1", api_key=server.key, max_retries=0)


@pytest.fixture(scope="module")
def spoken(served_pipeline):
    """What the pipeline itself says, with seed 0."""
    chunks = TextToSpeech(served_pipeline).stream(HELLO["input"], chunk_frames=4)
    return np.concatenate([chunk.waveform.flatten().numpy() for chunk in chunks])


def samples(pcm: bytes) -> np.ndarray:
    return np.frombuffer(pcm, "<i2") / 32767


def assert_same_speech(found: np.ndarray, expected: np.ndarray) -> None:
    """The codes are the same; 16 bits clip, and chunks of the decoder round differently."""
    assert found.shape == expected.shape
    assert np.abs(found - np.clip(expected, -1, 1)).max() < 0.01


def test_pcm_is_the_speech_of_the_pipeline(openai_client, spoken):
    found = openai_client.audio.speech.create(**HELLO, response_format="pcm")
    assert found.response.headers["content-type"] == "audio/pcm"
    assert found.response.headers["x-sample-rate"] == "24000"
    assert found.response.headers["x-synthetic-audio"].startswith("almtok/")
    assert_same_speech(samples(found.content), spoken)


@pytest.mark.parametrize(
    ("name", "container"), [("mp3", "MP3"), ("opus", "OGG"), ("flac", "FLAC"), ("wav", "WAV")]
)
def test_files_are_whole_and_say_that_they_are_synthetic(openai_client, spoken, name, container):
    data = openai_client.audio.speech.create(**HELLO, response_format=name).content
    with soundfile.SoundFile(io.BytesIO(data)) as file:
        assert file.format == container and file.samplerate == 24_000
        assert file.comment.startswith("synthetic audio, made by almtok")
    # A block of the encoder at each end.
    assert abs(len(read_audio(data)) - len(spoken)) <= (2400 if name in ("mp3", "opus") else 0)


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="no encoder of AAC")
def test_aac_is_made_by_ffmpeg(http):
    found = http.post("/v1/audio/speech", json={**HELLO, "response_format": "aac"})
    assert found.headers["content-type"] == "audio/aac"
    command = ["ffmpeg", "-v", "error", "-i", "pipe:0", "-f", "ffmetadata", "pipe:1"]
    tags = subprocess.run(command, input=found.content, capture_output=True, check=True).stdout
    assert b"comment=synthetic audio" in tags


def test_aac_without_an_encoder_is_refused(http, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    found = http.post("/v1/audio/speech", json={**HELLO, "response_format": "aac"})
    assert found.status_code == 400
    assert "needs ffmpeg" in found.json()["error"]["message"]


def test_wav_is_sent_while_it_is_made(openai_client, spoken):
    create = openai_client.audio.speech.with_streaming_response.create
    with create(**HELLO, response_format="wav") as response:
        assert response.headers["transfer-encoding"] == "chunked"
        pieces = list(response.iter_bytes())
    assert len(pieces) > 1
    assert pieces[0].startswith(b"RIFF\xff\xff\xff\xffWAVE")
    assert_same_speech(read_audio(b"".join(pieces)), spoken)


def test_events_are_those_of_openai(http, spoken):
    body = {**HELLO, "response_format": "pcm", "stream_format": "sse"}
    with http.stream("POST", "/v1/audio/speech", json=body) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        lines = [line for line in response.iter_lines() if line]
    events = [json.loads(line.removeprefix("data: ")) for line in lines]
    *deltas, done = events
    assert {event["type"] for event in deltas} == {"speech.audio.delta"} and len(deltas) > 1
    assert_same_speech(samples(b"".join(base64.b64decode(d["audio"]) for d in deltas)), spoken)
    usage = done["usage"]
    assert done["type"] == "speech.audio.done"
    assert usage["output_tokens"] == 3 * len(spoken) // 1920  # three codes for 80 ms
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]


def test_events_of_a_file_hold_the_file(http):
    body = {**HELLO, "response_format": "flac", "stream_format": "sse"}
    lines = http.post("/v1/audio/speech", json=body).text.split("\n\n")[:-1]
    *deltas, _ = [json.loads(line.removeprefix("data: ")) for line in lines]
    data = b"".join(base64.b64decode(event["audio"]) for event in deltas)
    assert data == http.post("/v1/audio/speech", json={**HELLO, "response_format": "flac"}).content


def test_seed_guidance_and_voice_object(http, spoken):
    def say(**fields):
        found = http.post("/v1/audio/speech", json={**HELLO, "response_format": "pcm", **fields})
        assert found.status_code == 200, found.text
        return found.content

    assert_same_speech(samples(say(voice={"id": "default"}, seed=0)), spoken)
    assert say(seed=1) != say(seed=2)
    assert say(guidance_scale=1.0) != say(guidance_scale=3.0)


def test_long_texts_continue_their_parts(http, served_pipeline):
    text = (
        "The first sentence has so many words that the second one, which follows it, is not said "
        "in the same breath but later. The second sentence is another part of the text."
    )
    tts = TextToSpeech(served_pipeline)
    assert len(tts.split(text)) == 2
    found = http.post(
        "/v1/audio/speech", json={**HELLO, "input": text, "response_format": "pcm", "seed": 5}
    )
    chunks = tts.stream(text, seed=5, chunk_frames=4)
    expected = np.concatenate([chunk.waveform.flatten().numpy() for chunk in chunks])
    assert_same_speech(samples(found.content), expected)


@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl")
def test_curl_writes_a_file(server, tmp_path):
    file = tmp_path / "hello.mp3"
    command = [
        "curl", "-sSf", f"{server.url}/v1/audio/speech",
        "-H", f"Authorization: Bearer {server.key}",
        "-H", "Content-Type: application/json", "-d", json.dumps(HELLO), "-o", str(file),
    ]  # fmt: skip
    subprocess.run(command, check=True)
    assert len(read_audio(file)) > 4800
