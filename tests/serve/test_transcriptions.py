"""`/v1/audio/transcriptions` and `/v1/audio/captions`: the texts are those of the pipelines."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from almtok.core.audio import read_audio
from almtok.tasks.pipelines.audio_captioning import AudioCaptioner
from almtok.tasks.pipelines.speech_recognition import SpeechRecognizer
from almtok.tasks.subtitles import to_subtitles

httpx = pytest.importorskip("httpx")
pytest.importorskip("fastapi")
recognition = pytest.importorskip("almtok.serve.recognition")

TESTS = Path(__file__).resolve().parents[1]
VOICE = TESTS / "codec" / "fixtures" / "kathleen_a0119.flac"
RATE = 24_000


@pytest.fixture
def http(server):
    with httpx.Client(base_url=server.url, headers=server.headers, timeout=300) as client:
        yield client


@pytest.fixture(scope="module")
def openai_client(server):
    openai = pytest.importorskip("openai")
    return openai.OpenAI(base_url=f"{server.url}/v1", api_key=server.key, max_retries=0)


@pytest.fixture(scope="module")
def recognizer(served_pipeline):
    return SpeechRecognizer(served_pipeline)


@pytest.fixture(scope="module")
def said(recognizer):
    """What the pipeline hears."""
    return recognizer.transcribe(VOICE, timestamps=True)


def wav_file(wav, rate=RATE) -> bytes:
    data = io.BytesIO()
    soundfile.write(data, wav, rate, format="WAV")
    return data.getvalue()


def refusal(response, status=400) -> dict:
    assert response.status_code == status, response.text
    error = response.json()["error"]
    assert error["message"] and "\n" not in error["message"]
    return error


def test_the_text_is_that_of_the_pipeline(openai_client, said):
    with VOICE.open("rb") as file:
        found = openai_client.audio.transcriptions.create(file=file, model="mini")
    assert said.text and found.text == said.text
    assert found.usage.type == "duration" and found.usage.seconds == np.ceil(said.duration)


def test_as_plain_text(openai_client, said):
    found = openai_client.audio.transcriptions.create(
        file=VOICE, model="mini", response_format="text", language="en", temperature=0
    )
    assert found == said.text + "\n"


def test_times_of_words_and_sentences(openai_client, said):
    found = openai_client.audio.transcriptions.create(
        file=VOICE,
        model="mini",
        response_format="verbose_json",
        timestamp_granularities=["word", "segment"],
    )
    assert (found.text, found.language) == (said.text, "en")
    assert found.duration == pytest.approx(said.duration)
    assert [word.word for word in found.words] == [word.text for word in said.words]
    times = [(word.start, word.end) for word in said.words]
    assert np.allclose([(word.start, word.end) for word in found.words], times, atol=1e-3)
    assert [segment.text for segment in found.segments] == [s.text for s in said.segments]
    assert found.segments[0].start == pytest.approx(said.words[0].start, abs=1e-3)
    assert found.segments[0].avg_logprob < 0 < found.segments[0].compression_ratio


@pytest.mark.parametrize("name", ["srt", "vtt"])
def test_subtitles(openai_client, said, name):
    found = openai_client.audio.transcriptions.create(
        file=VOICE, model="mini", response_format=name
    )
    assert found == to_subtitles(said.words, name) and "-->" in found


def test_a_long_recording_is_sent_window_by_window(openai_client, recognizer, monkeypatch):
    windows = {"window_seconds": 2.0, "overlap_seconds": 0.5}
    for name, value in windows.items():
        monkeypatch.setattr(recognition, name.upper(), value)
    file = wav_file(np.tile(read_audio(VOICE, RATE), 2))
    events = list(
        openai_client.audio.transcriptions.create(
            file=("talk.wav", file), model="mini", stream=True
        )
    )
    *deltas, done = events
    assert len(deltas) > 1 and {event.type for event in deltas} == {"transcript.text.delta"}
    assert done.type == "transcript.text.done"
    assert "".join(event.delta for event in deltas) == done.text
    assert done.text == recognizer.transcribe(file, **windows).text


def test_silence_has_no_text(http):
    files = {"file": ("a.wav", wav_file(np.zeros(RATE)))}
    found = http.post("/v1/audio/transcriptions", data={"model": "mini"}, files=files)
    assert found.json()["text"] == ""
    found = http.post("/v1/audio/captions", files=files).json()
    assert found["text"] == "" and found["silent"]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"prompt": "Names: Ann, Bob."}, "prompt"),
        ({"language": "fr"}, "language"),
        ({"stream": "true", "response_format": "srt"}, "stream"),
        ({"response_format": "diarized_json"}, "response_format"),
        ({"adapter": "nobody"}, "adapter"),
        ({"speakers": "2"}, "speakers"),
        ({"temperature": "nan"}, "temperature"),
    ],
)
def test_what_the_model_cannot_follow_is_refused_by_name(http, fields, param):
    found = http.post(
        "/v1/audio/transcriptions",
        data={"model": "mini", **fields},
        files={"file": ("a.wav", wav_file(np.zeros(RATE)))},
    )
    assert refusal(found)["param"] == param


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "0 bytes"),
        (b"RIFF", "cannot be decoded"),
        (b"<html><body>not audio</body></html>" * 100, "cannot be decoded"),
        (VOICE.read_bytes()[:20_000], "cannot be decoded"),
        (VOICE.read_bytes()[:200] + bytes(20_000), ""),
    ],
    ids=["empty", "a header", "a page", "cut off", "damaged"],
)
@pytest.mark.parametrize("route", ["audio/transcriptions", "audio/captions", "codec/encode"])
def test_files_that_are_not_audio_are_refused(http, route, data, words):
    fields = {"model": "mini"} if route == "audio/transcriptions" else {}
    found = http.post(f"/v1/{route}", data=fields, files={"file": ("a.flac", data)})
    error = refusal(found)
    assert error["param"] == "file" and error["code"] == "invalid_audio"
    assert words in error["message"]


def test_audio_that_is_too_long_is_refused(serving):
    hour = io.BytesIO()  # of silence, in a few kilobytes
    soundfile.write(hour, np.zeros(3600 * 8000, np.int16), 8000, format="FLAC")
    with serving(max_audio_seconds=2.0) as server:
        with httpx.Client(base_url=server.url, headers=server.headers, timeout=300) as client:
            for seconds, status in ((2.0, 200), (2.1, 413)):
                file = wav_file(np.zeros(round(seconds * RATE)))
                found = client.post("/v1/codec/encode", files={"file": ("a.wav", file)})
                assert found.status_code == status
            for rate in (8000, 600_000):
                data = hour.getvalue()
                if rate != 8000:
                    fast = io.BytesIO()
                    soundfile.write(fast, np.zeros(3 * rate, np.int16), rate, format="FLAC")
                    data = fast.getvalue()
                found = client.post("/v1/codec/encode", files={"file": ("a.flac", data)})
                error = refusal(found, 413)
                assert error["message"] == "file must be at most 2 s long"


def test_captions_are_those_of_the_pipeline(http, served_pipeline):
    bark = TESTS.parent / "docs" / "samples" / "dog_barks.ogg"
    expected = AudioCaptioner(served_pipeline).caption(bark)
    files = {"file": ("bark.ogg", bark.read_bytes())}
    found = http.post("/v1/audio/captions", files=files).json()
    assert expected.text and found["text"] == expected.text
    assert found["duration"] == pytest.approx(expected.duration)
    plain = http.post("/v1/audio/captions", data={"response_format": "text"}, files=files)
    assert plain.text == expected.text
    music = http.post("/v1/audio/captions", data={"kind": "music"}, files=files).json()
    assert music["text"] == AudioCaptioner(served_pipeline).caption(bark, music=True).text


def test_the_key_is_needed(server):
    for route in ("audio/transcriptions", "audio/captions", "audio/generations", "codec/decode"):
        refusal(httpx.post(f"{server.url}/v1/{route}", json=json.loads("{}")), 401)
