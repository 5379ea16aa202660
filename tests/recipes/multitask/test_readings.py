"""Readings of texts: what is read, by whom, and that a killed making goes on."""

import json

import numpy as np
import pytest
import soundfile

from almtok.codec.data.sources import list_entries
from almtok.recipes.multitask import readings

TEXTS = ["one two three four", "the cat sat on the mat", "it rains"]


def test_readings_are_a_function_of_the_seed():
    first = list(readings.readings(TEXTS, 10, 3))
    assert first == list(readings.readings(TEXTS, 10, 3))
    assert first != list(readings.readings(TEXTS, 10, 4))
    assert len({reading.id for reading in first}) == 10
    assert [reading.text for reading in first[::2]] != [reading.text for reading in first[1::2]]
    assert {reading.text for reading in first[::2]} == set(TEXTS)
    known = {word for text in TEXTS for word in text.split()}
    assert {word for reading in first for word in reading.text.split()} <= known


@pytest.fixture
def spoken(monkeypatch):
    """A synthesiser that hums, and what it was asked for."""
    asked = []

    def speak(text, voice, rate):
        asked.append(text)
        return np.sin(np.arange(rate // 2) / 20).astype(np.float32) * 0.1

    monkeypatch.setattr(readings, "find_speaker", lambda: ("hum", speak))
    return asked


@pytest.fixture
def corpus(tmp_path):
    """A manifest with texts; nobody looks into its audio."""
    lines = [{"id": str(n), "audio": f"{n}.wav", "text": text} for n, text in enumerate(TEXTS)]
    path = tmp_path / "corpus.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    for n in range(len(TEXTS)):
        soundfile.write(tmp_path / f"{n}.wav", np.zeros(10, np.float32), 24_000)
    return f"speech={path}"


def test_a_second_making_makes_what_is_missing(spoken, corpus, tmp_path):
    out = tmp_path / "readings"
    manifest = readings.make([corpus], out, 6, 0)
    assert len(spoken) == 6
    (out / "audio/reading-000002.ogg").unlink()
    assert readings.make([corpus], out, 6, 0) == manifest
    assert len(spoken) == 7
    rows = list_entries([f"{manifest}:train"])
    assert len(rows) == 6
    assert all(row.text and row.speaker and row.domain == "speech" for row in rows)


def test_a_corpus_without_texts_is_refused(spoken, tmp_path):
    soundfile.write(tmp_path / "a.wav", np.zeros(2400, np.float32), 24_000)
    with pytest.raises(ValueError, match="no text in"):
        readings.make([str(tmp_path)], tmp_path / "out", 2, 0)
