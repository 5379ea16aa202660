"""`/v1/audio/generations`: the audio is that of the pipeline."""

import base64

import numpy as np
import pytest

from almtok.core.audio import read_audio
from almtok.tasks.pipelines.audio_generation import AudioGenerator, draw_seed
from almtok.tasks.pipelines.options import GenerationOptions

httpx = pytest.importorskip("httpx")
pytest.importorskip("fastapi")
generations = pytest.importorskip("almtok.serve.routes.generations")

BARK = {"prompt": "a dog barks", "seconds": 1.0, "response_format": "wav"}


@pytest.fixture
def http(server):
    with httpx.Client(base_url=server.url, headers=server.headers, timeout=300) as client:
        yield client


def assert_same_audio(data: bytes, expected) -> None:
    """The codes are the same; 16 bits and the chunks of the decoder round differently."""
    found = read_audio(data)
    assert found.shape == expected.shape
    assert np.abs(found - np.clip(expected, -1, 1)).max() < 0.01


def test_a_sound_is_that_of_the_pipeline(http, served_pipeline):
    found = http.post("/v1/audio/generations", json={**BARK, "seed": 3})
    assert found.status_code == 200 and found.headers["content-type"] == "audio/wav"
    assert found.headers["x-synthetic-audio"].startswith("almtok/")
    expected = AudioGenerator(served_pipeline).sound(BARK["prompt"], seconds=1.0, seed=3)
    assert_same_audio(found.content, expected.wav.numpy())


def test_draws_have_seeds_of_their_own(http, served_pipeline):
    body = {**BARK, "n": 2, "guidance_scale": 1.0, "temperature": 0.7, "seconds": 0.6}
    found = http.post("/v1/audio/generations", json=body).json()
    assert (found["format"], found["sample_rate"]) == ("wav", 24_000)
    options = GenerationOptions(guidance_scale=1.0, temperature=0.7)
    generator = AudioGenerator(served_pipeline, options)
    for number, draw in enumerate(found["data"]):
        assert draw["seed"] == draw_seed(0, number)
        expected = generator.sound(BARK["prompt"], seconds=0.6, seed=draw["seed"])
        assert_same_audio(base64.b64decode(draw["b64_audio"]), expected.wav.numpy())
        assert draw["tries"] == expected.tries and draw["silent"] == expected.silent
        assert draw["seconds"] == pytest.approx(expected.duration)


def test_what_is_nearly_silent_is_drawn_again(http, monkeypatch):
    levels = iter([-60.0, -55.0, -70.0, -58.0])
    monkeypatch.setattr(generations, "check_level", lambda *_: (next(levels), True))
    body = {**BARK, "seconds": 0.5, "n": 2}
    monkeypatch.setattr(generations, "tries", lambda *_: 2)
    draws = http.post("/v1/audio/generations", json=body).json()["data"]
    assert [draw["tries"] for draw in draws] == [2, 2] and all(draw["silent"] for draw in draws)
    assert next(levels, None) is None


@pytest.mark.parametrize(
    ("fields", "param", "words"),
    [
        ({"prompt": ""}, "prompt", "at least 1 character"),
        ({"prompt": "x" * 5000}, "prompt", "at most 4096 characters, got 5000"),
        ({"prompt": "中文"}, None, "letters that the vocabulary"),
        ({"seconds": 601}, "seconds", "at most 600, got 601"),
        ({"seconds": -1}, "seconds", "greater than 0"),
        ({"n": 11}, "n", "less than or equal to 10"),
        ({"kind": "speech"}, "kind", "'sound' or 'music'"),
        ({"response_format": "midi"}, "response_format", "one of mp3"),
        ({"adapter": "nobody"}, "adapter", "one of: none; got 'nobody'"),
        ({"voice": "x"}, "voice", "unknown field 'voice'"),
    ],
)
def test_refusals(http, fields, param, words):
    found = http.post("/v1/audio/generations", json={**BARK, **fields})
    error = found.json()["error"]
    assert found.status_code == 400 and error["param"] == param and words in error["message"]


def test_draws_that_the_queue_has_no_room_for_leave_none_behind(serving, monkeypatch):
    with serving(max_queue=1) as server:
        state = server.state
        monkeypatch.setattr(state.scheduler, "max_queue", 0)
        found = httpx.post(
            f"{server.url}/v1/audio/generations", json={**BARK, "n": 3}, headers=server.headers
        )
        assert found.status_code == 429 and int(found.headers["retry-after"]) >= 1
        assert server.is_idle()


def test_music_is_another_task(http, served_pipeline):
    body = {**BARK, "kind": "music", "prompt": "a piano", "seconds": 2, "response_format": "mp3"}
    found = http.post("/v1/audio/generations", json=body)
    assert found.headers["content-type"] == "audio/mpeg"
    expected = AudioGenerator(served_pipeline).music("a piano", seconds=2.0)
    # A block of the encoder at each end.
    assert abs(len(read_audio(found.content)) - len(expected.wav)) <= 2400
