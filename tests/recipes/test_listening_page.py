"""The listening page: its players point at files that can be heard, made from the command line."""

import json
import re

import numpy as np
import pytest
import soundfile

from almtok.recipes import listening_page


def test_a_page_of_the_shipped_model(tmp_path, monkeypatch):
    monkeypatch.setattr(listening_page, "SENTENCES", ("Good <b>morning</b>.",))
    monkeypatch.setattr(listening_page, "SOUNDS", ("a bell rings",))
    monkeypatch.setattr(listening_page, "TUNES", ())
    time = np.arange(24_000) / 24_000
    soundfile.write(tmp_path / "tone.wav", 0.3 * np.sin(2 * np.pi * 220 * time), 24_000)
    row = {"audio": "tone.wav", "text": "", "domain": "music"}
    (tmp_path / "manifest.jsonl").write_text(json.dumps(row) + "\n")
    listening_page.main(
        ["--data", str(tmp_path / "manifest.jsonl"), "--frames-per-query", "6",
         "--credits", "A sine: CC0.", "--out", str(tmp_path / "page")]
    )  # fmt: skip
    page = (tmp_path / "page" / "index.html").read_text()
    files = re.findall(r'src="([^"]+\.opus)"', page)
    # The recording and two reconstructions, two draws of the sentence, two of the sound.
    assert len(files) == 3 + 2 + 2
    assert {path.name for path in (tmp_path / "page").glob("*.opus")} == set(files)
    for file in files:
        wav, rate = soundfile.read(tmp_path / "page" / file)
        assert len(wav) > 0.1 * rate
    assert "almtok-w6, 0.412 kbit/s" in page and "A sine: CC0." in page
    assert "<b>morning" not in page
    assert "http" not in page


def test_missing_recordings_are_an_error_in_a_line(tmp_path, capsys):
    with pytest.raises(SystemExit) as stopped:
        listening_page.main(["--data", str(tmp_path / "none"), "--out", str(tmp_path / "page")])
    assert "none" in str(stopped.value) and not (tmp_path / "page").exists()
