"""``almtok ui`` as a process: it prints its address, answers, and deletes uploads when it stops."""

import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import numpy as np
import pytest
import soundfile

from almtok.__main__ import main

from ...pace import patience
from .conftest import free_port

pytest.importorskip("gradio")


@pytest.mark.slow
def test_the_page_is_served_until_the_process_is_told_to_stop(quiet_environment, tmp_path):
    for system in ("reference", "ours"):
        (tmp_path / "clips" / system).mkdir(parents=True)
        soundfile.write(tmp_path / "clips" / system / "a.wav", np.full(2400, 0.1), 24_000)
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "almtok", "ui", "--port", str(port), "--compare", "clips"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path,
        env={**quiet_environment, "TMPDIR": str(temporary)},
    )  # fmt: skip
    try:
        line = process.stdout.readline()
        assert line == f"almtok ui: http://127.0.0.1:{port}/ (Ctrl+C stops it)\n"
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=patience(20)) as answer:
            text = answer.read().decode()
        assert "Ready: 1 clip of" in text
        assert "googleapis" not in text
        assert list(temporary.glob("almtok-ui-*"))
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=patience(30))
    finally:
        process.kill()
    assert process.returncode == 130
    assert errors.strip().splitlines()[-1:] == ["almtok: stopped"]
    assert "Traceback" not in errors
    assert not list(temporary.glob("almtok-ui-*"))


def test_a_port_in_use_and_a_missing_folder_are_one_line(capsys):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert main(["ui", "--port", str(port)]) == 1
    errors = capsys.readouterr().err
    assert errors.startswith(f"almtok: error: cannot listen on 127.0.0.1, port {port}: ")
    assert len(errors.splitlines()) == 1
    assert main(["ui", "--port", str(free_port()), "--compare", str(Path("gone"))]) == 1
    assert capsys.readouterr().err == "almtok: error: no such file or folder: gone\n"
