"""Texts of all lengths: pieces, recordings in a row, and shares."""

import json

import numpy as np
import pytest
import soundfile

from almtok.core.audio import read_audio
from almtok.recipes.mini.voices import VOICES, find_speaker
from almtok.recipes.transforms import balance_lengths
from almtok.recipes.transforms.balance_lengths import Utterance

TONE = np.ones(2400, np.float32)


def said(*texts, speaker="a"):
    return [Utterance(text, TONE * len(text), speaker) for text in texts]


def test_longer_ones_are_of_one_speaker_and_not_too_long():
    ten = " ".join(f"w{n}" for n in range(10))
    spoken = said(*(f"{ten} {n}" for n in range(6))) + said(ten, speaker="b")
    made = list(balance_lengths.longer(spoken, np.random.default_rng(0)))
    assert made
    assert all(20 <= one.words <= 40 and one.speaker == "a" for one in made)
    one = made[0]
    assert len(one.wav) == round(one.words / 11) * len(TONE) + (one.words // 11 - 1) * 6000


def test_each_length_has_its_share_and_each_text_comes_once():
    texts = [" ".join(["word"] * count + [str(n)]) for count in (1, 5, 11, 20) for n in range(30)]
    spoken = said(*texts, *texts)
    drawn = balance_lengths.draw(spoken, 40, np.random.default_rng(0))
    assert [one.words for one in drawn] == [2] * 10 + [6] * 10 + [12] * 10 + [21] * 10
    assert len({one.text for one in drawn}) == 40
    few = balance_lengths.draw(said(*texts[:33]), 40, np.random.default_rng(0))
    assert [one.words for one in few] == [2] * 30 + [6] * 3  # all there are


def test_recordings_become_texts_of_all_lengths(tmp_path):
    pytest.importorskip("pocketsphinx")
    _, speak = find_speaker()
    texts = [
        "please open the window now and let us see the yellow rabbit",
        "henry saw a small house near the river and went home",
        "the weather was cold but nobody wanted to stay inside all day",
    ]
    rows = []
    for number, text in enumerate(texts):
        soundfile.write(tmp_path / f"{number}.wav", speak(text, VOICES[4], 24_000), 24_000)
        rows.append({"id": str(number), "audio": f"{number}.wav", "text": text, "speaker": "evan"})
    manifest = tmp_path / "manifest.jsonl"
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
    made = balance_lengths.balance_lengths([f"speech={manifest}"], tmp_path / "texts", count=12)
    lines = [json.loads(line) for line in made.read_text().splitlines()]
    counts = [len(line["text"].split()) for line in lines]
    assert counts == sorted(counts)
    assert min(counts) <= 3 and max(counts) >= 17
    whole = " ".join(texts)
    assert all(line["text"] in whole for line in lines)
    audio = [read_audio(tmp_path / "texts" / line["audio"], 24_000) for line in lines]
    assert len(audio[0]) < 1.6 * 24_000 < len(audio[-1])
    before = made.read_bytes()
    assert (
        balance_lengths.balance_lengths(
            [f"speech={manifest}"], tmp_path / "again", count=12
        ).read_bytes()
        == before
    )


def test_recordings_without_texts_are_refused(tmp_path):
    soundfile.write(tmp_path / "a.wav", TONE, 24_000)
    with pytest.raises(ValueError, match="no text in"):
        balance_lengths.balance_lengths([f"speech={tmp_path}"], tmp_path / "out")
