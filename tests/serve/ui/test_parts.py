"""Parts of the page without a browser: limits, errors, consent, streams, HTML."""

import threading
import types

import numpy as np
import pytest
import soundfile

gr = pytest.importorskip("gradio")

from starlette.applications import Starlette  # noqa: E402
from starlette.testclient import TestClient  # noqa: E402

from almtok.serve.ui.clone import Cloner  # noqa: E402
from almtok.serve.ui.controls import sound  # noqa: E402
from almtok.serve.ui.errors import INTERNAL, one_sentence  # noqa: E402
from almtok.serve.ui.limits import checked_seed, checked_text, read_upload  # noqa: E402
from almtok.serve.ui.markup import player, table, word_differences  # noqa: E402
from almtok.serve.ui.streams import SpeechStreams  # noqa: E402
from almtok.tasks.evaluation.diff import word_diff  # noqa: E402

TICKET = "0123456789abcdef" * 2


def test_what_a_visitor_sends_is_limited(tmp_path, monkeypatch):
    path = tmp_path / "long.wav"
    soundfile.write(path, np.full(3 * 8000, 0.1), 8000)
    assert len(read_upload(str(path), 24_000, 3.0)) == 72_000
    with pytest.raises(ValueError, match="longer than 2 s"):
        read_upload(str(path), 24_000, 2.0)
    monkeypatch.setattr("almtok.serve.ui.limits.MAX_UPLOAD_BYTES", 2**15)
    with pytest.raises(ValueError, match="MiB"):
        read_upload(str(path), 24_000, 3.0)
    for text in ("", "  ", None, "a" * 11):
        with pytest.raises(ValueError, match="The text"):
            checked_text(text, 10, "text")
    for seed in (None, -1, 0.5, 2.0**31):
        with pytest.raises(ValueError, match="The seed must be a whole number"):
            checked_seed(seed)


@pytest.mark.parametrize("generator", [False, True])
@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ValueError("cannot\nread '/tmp/deep/folder/a.wav': no sound"),
         "Cannot read 'a.wav': no sound"),
        (OSError("the disk is full"), "The disk is full"),
        (KeyError("secret"), INTERNAL),
    ],
)  # fmt: skip
def test_errors_are_one_sentence_without_folders(error, text, generator):
    def fail(value):
        raise error

    def fail_later(value):
        yield value
        raise error

    with pytest.raises(gr.Error) as caught:
        list(one_sentence(fail_later)(1)) if generator else one_sentence(fail)(1)
    assert caught.value.message == text


def test_the_server_itself_refuses_to_clone_without_consent():
    config = types.SimpleNamespace(supports_cloning=True)
    cloner = Cloner(types.SimpleNamespace(lm=types.SimpleNamespace(config=config)))
    for consent in (False, None, "yes"):
        with pytest.raises(ValueError, match="only with consent"):
            cloner.speak(consent, "voice.wav", "", "Hello.", 0)
    config.supports_cloning = False
    with pytest.raises(ValueError, match="does not imitate"):
        cloner.speak(True, "voice.wav", "", "Hello.", 0)


def test_samples_are_sent_before_the_job_has_ended():
    streams, heard, done = SpeechStreams(24_000), threading.Event(), []

    def job():
        with streams.writing(TICKET) as stream:
            stream.write(np.full(4, 0.5))
            done.append(heard.wait(60))
            stream.write(np.full(2, 2.0))

    worker = threading.Thread(target=job)
    worker.start()
    stream = streams._get(TICKET)
    chunks = (chunk for chunk in stream.read() if chunk)
    assert np.frombuffer(next(chunks), "<i2").tolist() == [16384] * 4
    heard.set()
    assert [np.frombuffer(chunk, "<i2").tolist() for chunk in chunks] == [[32767] * 2]
    worker.join()
    assert done == [True]


def test_a_stream_is_served_once_and_wrong_tickets_are_refused():
    streams = SpeechStreams(24_000)
    with streams.writing(TICKET) as stream:
        stream.write(np.zeros(3))
    with TestClient(Starlette(routes=[streams.route()])) as client:
        answer = client.get(f"/speech/{TICKET}")
        assert answer.content == bytes(6) and answer.headers["x-sample-rate"] == "24000"
        assert client.get("/speech/short").status_code == 404
    assert not streams._streams


def test_a_stream_ends_with_the_error_of_its_job():
    streams = SpeechStreams(24_000)
    with pytest.raises(ValueError), streams.writing(TICKET):
        raise ValueError
    assert list(streams._get(TICKET).read()) == []


def test_html_escapes_texts_and_players_hide_their_source():
    assert "<b>" not in table(["<b>"], [["<b>"]], "<b>")
    assert "<b>" not in word_differences(word_diff("a b", "a <b>"))
    shown = word_differences(word_diff("the rain stopped", "the ran stopped"))
    assert "<del>rain</del> <ins>ran</ins>" in shown and "1 word not as written" in shown
    assert 'src="data:audio/flac;base64,' in player(np.zeros(100, np.float32), 24_000, "A")


def test_levels_of_sounds_are_kept():
    rate, samples = sound(np.array([0.5, -2.0], np.float32), 24_000)
    assert rate == 24_000 and samples.tolist() == [16384, -32767]
