"""`/v1/audio/stream`: speech while its text arrives, codes and text of a microphone."""

import contextlib
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from almtok.core.audio import read_audio
from almtok.core.pcm import pcm
from almtok.tasks.pipelines.speech_recognition import SpeechRecognizer
from almtok.tasks.pipelines.text_to_speech import TextToSpeech

from ..pace import patience, wait_until

pytest.importorskip("fastapi")
client = pytest.importorskip("websockets.sync.client")
exceptions = pytest.importorskip("websockets.exceptions")

VOICE = Path(__file__).resolve().parents[1] / "codec" / "fixtures" / "kathleen_a0119.flac"


class Connection:
    """A client of the protocol."""

    def __init__(self, socket) -> None:
        self.socket = socket

    def send(self, **message) -> None:
        self.socket.send(json.dumps(message))

    def next(self):
        """The next frame: bytes, or JSON."""
        frame = self.socket.recv(timeout=patience(120))
        return frame if isinstance(frame, bytes) else json.loads(frame)

    def until(self, *types: str) -> tuple[list, dict]:
        """Frames before the next message of these types, and the message."""
        frames = []
        while isinstance(frame := self.next(), bytes) or frame["type"] not in types:
            frames.append(frame)
        return frames, frame


@contextlib.contextmanager
def connected(server, **options):
    url = server.url.replace("http", "ws") + "/v1/audio/stream"
    options = {"additional_headers": server.headers, "open_timeout": patience(30), **options}
    with client.connect(url, max_size=None, **options) as socket:
        yield Connection(socket)


@pytest.fixture
def connection(server):
    with connected(server) as found:
        assert found.next()["type"] == "ready"
        yield found


def samples(frames) -> np.ndarray:
    return np.frombuffer(b"".join(frames), "<i2") / 32767


def test_the_first_message_says_what_the_server_has(server):
    with connected(server) as found:
        ready = found.next()
        assert ready["sample_rate"] == 24_000 and ready["voices"]


def test_a_text_is_spoken_as_by_the_pipeline(connection, served_pipeline):
    connection.send(type="speak", text="Good morning!", seed=1, flush=True)
    frames, done = connection.until("done", "error")
    assert done["type"] == "done", done
    expected = TextToSpeech(served_pipeline).speak("Good morning!", seed=1).wav.numpy()
    found = samples(frames)
    assert done["samples"] == len(found) == len(expected) and len(frames) > 1
    assert done["seconds"] == pytest.approx(len(found) / 24_000)
    assert np.abs(found - np.clip(expected, -1, 1)).max() < 0.01


def test_sentences_are_spoken_before_the_text_is_complete(connection):
    for piece in ("Good mor", "ning, every", "one! How are", " you"):
        connection.send(type="speak", text=piece)
    assert isinstance(connection.next(), bytes)  # nothing but the first sentence can be spoken yet
    connection.send(type="speak", text=" today?")
    connection.send(type="flush")
    frames, done = connection.until("done", "error")
    assert done["type"] == "done" and all(isinstance(frame, bytes) for frame in frames)
    connection.send(type="speak", text="Bye.", flush=True)  # another utterance
    assert connection.until("done", "error")[1]["type"] == "done"


def test_speech_can_be_cancelled(connection, server):
    connection.send(type="speak", text="This is a rather long sentence. " * 8, flush=True)
    assert isinstance(connection.next(), bytes)
    connection.send(type="cancel")
    frames, last = connection.until("cancelled", "done", "error")
    assert last["type"] == "cancelled"
    wait_until(server.is_idle)
    connection.send(type="speak", text="Yes.", flush=True)
    assert connection.until("done", "error")[1]["type"] == "done"


def test_a_client_that_leaves_frees_its_row(server):
    with connected(server) as found:
        found.next()
        found.send(type="speak", text="This is a rather long sentence. " * 8, flush=True)
        assert isinstance(found.next(), bytes)
    wait_until(server.is_idle)
    wait_until(lambda: server.state.active == 0)


def test_a_microphone_gives_codes_and_text(connection, served_pipeline):
    wav = read_audio(VOICE, 24_000)
    data = pcm(wav)
    connection.send(type="listen")
    for first in range(0, len(data), 4800):  # 100 ms
        connection.socket.send(data[first : first + 4800])
    connection.send(type="finish")
    frames, heard = connection.until("text", "error")
    assert heard["type"] == "text", heard
    recording = np.frombuffer(data, "<i2").astype(np.float32) / 32768
    codec = served_pipeline.codec
    expected = codec.tokenize(torch.from_numpy(recording)).codes
    assert len(frames) > 1 and [frame["type"] for frame in frames] == ["codes"] * len(frames)
    starts = np.cumsum([0, *(len(frame["codes"][0]) for frame in frames[:-1])])
    assert [frame["start"] for frame in frames] == starts.tolist()
    found = torch.cat([torch.tensor(frame["codes"]) for frame in frames], dim=1)
    assert found.equal(expected)
    assert heard["text"] == SpeechRecognizer(served_pipeline).transcribe(recording).text
    assert heard["text"] and heard["duration"] == pytest.approx(len(wav) / 24_000)


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ("{", "not valid JSON"),
        ('{"type": "sing"}', "type"),
        ('{"type": "speak"}', "text"),
        ('{"type": "speak", "text": "Hi.", "pitch": 2}', "unknown field"),
        ('{"type": "speak", "text": "Hi.", "voice": "nobody"}', "voice must be one of"),
        ('{"type": "speak", "text": "Hi.", "adapter": "nobody"}', "adapter must be one of"),
        ('{"type": "speak", "text": "...", "flush": true}', "can be said"),
        ('{"type": "flush"}', "send speak before flush"),
        ('{"type": "finish"}', "send listen before finish"),
        (b"\0\0", "audio came without listen"),
    ],
)
def test_mistakes_are_told_and_the_connection_goes_on(connection, message, words):
    connection.socket.send(message)
    error = connection.next()
    assert error["type"] == "error" and words in error["error"]["message"], error
    connection.send(type="cancel")
    assert connection.next() == {"type": "cancelled"}


def test_recordings_have_limits(serving):
    with serving(max_audio_seconds=1.0) as server, connected(server) as found:
        found.next()
        found.send(type="listen", codes=False)
        found.send(type="listen")
        assert "send finish first" in found.next()["error"]["message"]
        found.socket.send(b"\0")
        assert "whole samples" in found.next()["error"]["message"]
        found.send(type="listen", codes=False)
        found.socket.send(bytes(2 * 24_000))
        found.socket.send(bytes(2))
        assert found.next()["error"]["message"] == "audio must be at most 1 s long"
        found.send(type="listen")
        found.send(type="finish")
        assert "no audio" in found.next()["error"]["message"]
        found.send(type="speak", text="x" * 5000)
        assert "at most 4096 characters" in found.next()["error"]["message"]
        found.socket.send(bytes((1 << 20) + 2))
        assert "a frame must be at most" in found.next()["error"]["message"]
        with pytest.raises(exceptions.ConnectionClosed) as closed:
            found.next()
        assert closed.value.rcvd.code == 1009


def test_a_client_that_sends_nothing_is_left(serving):
    with serving(request_timeout=0.5) as server, connected(server) as found:
        found.next()
        with pytest.raises(exceptions.ConnectionClosed) as closed:
            found.next()
        assert closed.value.rcvd.code == 1001


def test_the_key_is_needed(server):
    with pytest.raises(exceptions.InvalidStatus, match="401") as refused:
        with connected(server, additional_headers={"Authorization": "Bearer other"}):
            pass
    assert json.loads(refused.value.response.body)["error"]["code"] == "invalid_api_key"


def test_pages_of_other_sites_may_not_use_a_server_without_a_key(serving):
    with serving(api_key=None) as server:
        with pytest.raises(exceptions.InvalidStatus, match="403") as refused:
            with connected(server, additional_headers={}, origin="https://elsewhere.example"):
                pass
        assert b"pages of other sites" in refused.value.response.body
        with connected(server, additional_headers={}, origin=server.url) as found:
            assert found.next()["type"] == "ready"


def test_the_example_of_the_page(serving, root, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    page = (root / "docs/serving_routes.md").read_text()
    (code,) = (c for c in re.findall(r"^```python\n(.*?)^```", page, re.M | re.S) if "ws://" in c)
    with serving(api_key=None) as server:
        code = code.replace("ws://127.0.0.1:8000", server.url.replace("http", "ws"))
        exec(compile(code, "docs/serving_routes.md", "exec"), {})
    assert 0.5 < (tmp_path / "morning.pcm").stat().st_size / 2 / 24_000 < 8


def test_every_message_and_field_of_the_page_exists(root):
    stream = pytest.importorskip("almtok.serve.routes.stream")
    page = (root / "docs/serving_routes.md").read_text()
    table = page.split("| from the client |")[1].split("\n\n")[0]
    rows = re.findall(r"^\| `(\w+)` \|([^|]*)\|", table, re.M)
    described = {name: set(re.findall(r"`(\w+)`", fields)) for name, fields in rows}
    models = (stream.Speak, stream.Flush, stream.Cancel, stream.Listen, stream.Finish)
    assert described == {
        model.__name__.lower(): set(model.model_fields) - {"type"} for model in models
    }


def test_a_server_that_stops_refuses_new_connections(serving):
    with serving() as server:
        server.state.draining = True
        with pytest.raises(exceptions.InvalidStatus, match="503") as refused:
            with connected(server):
                pass
    assert json.loads(refused.value.response.body)["error"]["code"] == "stopping"
