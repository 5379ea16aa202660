"""`almtok serve` as a process: its command line, and how it stops."""

import os
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path

import pytest

from almtok.__main__ import build_parser, main
from almtok.serve.cli import settings_of
from almtok.serve.settings import KEY_VARIABLE, ServerSettings, settings_from

from ..pace import patience, wait_until

httpx = pytest.importorskip("httpx")
pytest.importorskip("fastapi")

SPEECH = {
    "model": "mini", "voice": "default", "response_format": "pcm",
    "input": "She said that the old house by the river had stood empty for many years.",
}  # fmt: skip


@contextmanager
def process(environment, *words):
    """A server on a free port; its lines are read until it ends."""
    command = [sys.executable, "-m", "almtok", "serve", "--port", "0", *words]
    lines: list[str] = []
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, env=environment
    ) as running:
        reader = threading.Thread(target=lambda: lines.extend(iter(running.stderr.readline, "")))
        reader.start()
        try:
            wait_until(lambda: any("listening" in line for line in lines) or running.poll())
            yield running, lines
        finally:
            running.kill()
            reader.join()


@pytest.mark.slow
def test_running_requests_end_after_a_signal_and_new_ones_are_refused(quiet_environment):
    with process(quiet_environment) as (running, lines):
        url = lines[-1].split()[-1]
        assert lines[0].startswith("loaded mini in ")
        with (
            httpx.Client(base_url=url, timeout=patience(60)) as client,
            client.stream("POST", "/v1/audio/speech", json=SPEECH) as stream,
        ):
            pieces = stream.iter_bytes()
            next(pieces)
            running.send_signal(signal.SIGTERM)
            wait_until(lambda: any("stopping" in line for line in lines))
            assert httpx.get(f"{url}/ready").status_code == 503
            assert httpx.get(f"{url}/health").status_code == 200
            refused = httpx.post(f"{url}/v1/audio/speech", json=SPEECH)
            assert refused.status_code == 503 and "retry-after" in refused.headers
            assert refused.json()["error"]["code"] == "stopping"
            assert sum(map(len, pieces)) > 24_000  # the rest, without an error of the transfer
        assert running.wait(patience(60)) == 0
    assert lines[-1] == "stopped\n"
    assert any(line.startswith("POST /v1/audio/speech 200 ") for line in lines)
    assert not any("Traceback" in line for line in lines)


def test_a_taken_port_is_told_before_the_model_is_loaded(server, capsys):
    assert main(["serve", "--port", str(server.port)]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"almtok: error: cannot listen on 127.0.0.1:{server.port}: ")
    assert len(error.splitlines()) == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--host", "0.0.0.0"], "host 0.0.0.0 is reached by other machines: set --api-key"),
        (["--host", "::"], "host :: is reached by other machines"),
        (["--max-queue", "0"], "max_queue must be at least 1, got 0"),
        (["--request-timeout", "0"], "request_timeout must be finite and positive, got 0.0"),
        (["--port", "70000"], "port must be 0 to 65535, got 70000"),
        (["--api-key", ""], "api_key must not be empty"),
        (["--adapters", "mini=a"], "must be different, got ['mini', 'mini']"),
        (["--adapters", "joe"], "--adapters takes NAME=FOLDER, got 'joe'"),
    ],
)
def test_settings_that_cannot_be_are_refused_in_one_line(words, said, capsys, monkeypatch):
    monkeypatch.delenv(KEY_VARIABLE, raising=False)
    assert main(["serve", *words]) == 1
    error = capsys.readouterr().err
    assert said in error and len(error.splitlines()) == 1


def test_the_command_line_becomes_settings(monkeypatch, tmp_path):
    def settings(*words: str) -> ServerSettings:
        return settings_of(build_parser("serve").parse_args(["serve", *words]))

    monkeypatch.delenv(KEY_VARIABLE, raising=False)
    assert settings() == ServerSettings()
    assert settings("--host", "0.0.0.0", "--allow-public").api_key is None
    monkeypatch.setenv(KEY_VARIABLE, "from the environment")
    assert settings("--host", "0.0.0.0").api_key == "from the environment"
    assert settings("--api-key", "given").api_key == "given"
    chosen = settings(str(tmp_path), "--adapters", "joe=a/b", "eve=c", "--max-batch", "4")
    assert chosen.checkpoint == tmp_path and chosen.max_batch == 4
    assert {name: str(path) for name, path in chosen.adapters.items()} == {
        "joe": os.path.join("a", "b"), "eve": "c",
    }  # fmt: skip


def test_names_of_the_model(tmp_path):
    assert ServerSettings().names == ["mini"]
    assert ServerSettings(checkpoint=tmp_path, model_names=["tts-1", "x"]).names == ["tts-1", "x"]


def test_settings_of_another_server_are_converted(tmp_path):
    made = settings_from({
        "checkpoint": str(tmp_path), "max_batch": "4", "request_timeout": "2.5",
        "model_names": "tts-1,x", "adapters": {"joe": "runs/joe"}, "allow_public": "false",
    })  # fmt: skip
    assert made == ServerSettings(
        checkpoint=tmp_path, max_batch=4, request_timeout=2.5, model_names=["tts-1", "x"],
        adapters={"joe": Path("runs/joe")},
    )  # fmt: skip
    assert settings_from({}) == ServerSettings()


@pytest.mark.parametrize(("values", "message"), [
    ({"port": 80}, "settings must be of .*checkpoint.*; got port"),
    ({"max_bach": 1}, "got max_bach"),
    ({"max_batch": "many"}, "max_batch must be of type int, got 'many'"),
    ({"max_batch": 0}, "max_batch must be at least 1"),
    ({"allow_public": "perhaps"}, "allow_public must be of type bool, got 'perhaps'"),
    ({"adapters": ["joe"]}, "adapters must be of type .*, got"),
])  # fmt: skip
def test_wrong_settings_of_another_server_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        settings_from(values)
