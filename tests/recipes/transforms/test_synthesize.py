"""Readings of texts: what is read, and that the readings are a corpus."""

import json
import sys

import numpy as np
import pytest
import soundfile

from almtok.core.data.manifests import list_entries
from almtok.recipes.transforms import synthesize

pytest.importorskip("espeakng_loader")

TEXTS = ["one two three four", "the cat sat on the mat", "it rains"]


def test_texts_are_a_function_of_the_seed():
    first = list(synthesize.draw_texts(TEXTS, 10, 3))
    assert first == list(synthesize.draw_texts(TEXTS, 10, 3))
    assert first != list(synthesize.draw_texts(TEXTS, 10, 4))
    assert first[::2] != first[1::2]
    assert set(first[::2]) == set(TEXTS)
    known = {word for text in TEXTS for word in text.split()}
    assert {word for text in first for word in text.split()} <= known
    pieces = list(synthesize.draw_texts(TEXTS, 50, 3, words=2))
    assert {len(piece.split()) for piece in pieces} == {1, 2}
    assert all(any(piece in text for text in TEXTS) for piece in pieces)


@pytest.fixture
def corpus(tmp_path):
    """A manifest with texts; nobody looks into its audio."""
    lines = [{"id": str(n), "audio": f"{n}.wav", "text": text} for n, text in enumerate(TEXTS)]
    path = tmp_path / "corpus.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    for n in range(len(TEXTS)):
        soundfile.write(tmp_path / f"{n}.wav", np.zeros(10, np.float32), 24_000)
    return f"speech={path}"


def test_readings_are_a_corpus(corpus, tmp_path):
    out = tmp_path / "readings"
    manifest = synthesize.synthesize([corpus], out, count=6, seed=0)
    written = manifest.read_bytes()
    rows = list_entries([f"{manifest}:train"])
    assert len(rows) == 6
    assert {row.text for row in rows} == set(synthesize.draw_texts(sorted(TEXTS), 6, 0))
    assert all(row.speaker and row.domain == "speech" for row in rows)
    assert synthesize.synthesize([corpus], out, count=6, seed=0).read_bytes() == written


def test_a_corpus_without_texts_is_refused(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.zeros(2400, np.float32), 24_000)
    with pytest.raises(ValueError, match="no text in"):
        synthesize.synthesize([str(tmp_path)], tmp_path / "out", count=2, seed=0)


def test_several_processes_write_the_same_rows_and_seeds_do_not_collide(corpus, tmp_path):
    one = synthesize.synthesize([corpus], tmp_path / "one", count=4, seed=0, words=2)
    two = synthesize.synthesize([corpus], tmp_path / "two", count=4, seed=0, words=2, workers=2)
    assert one.read_text() == two.read_text()
    assert len(list((tmp_path / "two/audio").rglob("*.opus"))) == 4
    other = synthesize.synthesize([corpus], tmp_path / "other", count=4, seed=5, words=2)
    ids = [json.loads(line)["id"] for line in other.read_text().splitlines()]
    assert not set(ids) & {json.loads(line)["id"] for line in one.read_text().splitlines()}


def test_frequent_words_are_a_function_of_the_seed():
    pytest.importorskip("wordfreq")
    drawn = synthesize.draw_frequent_words(200, 3, 7)
    assert drawn == synthesize.draw_frequent_words(200, 3, 7)
    assert {len(text.split()) for text in drawn} == {1, 2, 3}
    assert all(text.replace(" ", "").isalpha() for text in drawn)


def test_frequent_words_say_what_they_need(monkeypatch):
    monkeypatch.setitem(sys.modules, "wordfreq", None)
    with pytest.raises(ImportError, match="pip install wordfreq"):
        synthesize.draw_frequent_words(1, 1, 0)


def test_texts_beside_the_audio_are_read_too(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.zeros(2400, np.float32), 24_000)
    (tmp_path / "a.txt").write_text("from a file")
    manifest = synthesize.synthesize([f"speech={tmp_path}"], tmp_path / "out", count=1, seed=0)
    assert [json.loads(line)["text"] for line in manifest.read_text().splitlines()] == [
        "from a file"
    ]
