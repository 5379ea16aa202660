"""Pieces of recordings: where they are cut, and that a word is where it was said."""

import json

import numpy as np
import pytest
import soundfile

from almtok.codec.phonemes.aligner import Word
from almtok.core.audio import read_audio
from almtok.recipes.mini.voices import VOICES, find_speaker
from almtok.recipes.transforms import cut_words

WORDS = [Word(f"w{n}", n * 0.5, n * 0.5 + 0.4, (0.1, 0.02)) for n in range(7)]


def test_pieces_follow_the_words_and_are_a_function_of_the_seed():
    made = list(cut_words.draw_pieces(WORDS, 3, 4.0, np.random.default_rng(1)))
    assert made == list(cut_words.draw_pieces(WORDS, 3, 4.0, np.random.default_rng(1)))
    assert sum(len(piece.text.split()) for piece in made) >= 28
    assert {len(piece.text.split()) for piece in made} == {1, 2, 3}
    for piece in made:
        names = [int(word[1:]) for word in piece.text.split()]
        assert names == list(range(names[0], names[-1] + 1))
        assert piece.start == pytest.approx(names[0] * 0.5 - 0.06)  # not more room than asked
        assert piece.end == pytest.approx(names[-1] * 0.5 + 0.42)  # nor than there is


def test_no_words_make_no_pieces():
    assert not list(cut_words.draw_pieces([], 3, 2.0, np.random.default_rng(0)))


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Sentences of the synthesiser, one of them in words that no dictionary has."""
    pytest.importorskip("pocketsphinx")
    folder = tmp_path_factory.mktemp("spoken")
    _, speak = find_speaker()
    texts = ["Please open the window, now.", "Henry saw a yellow rabbit.", "Xyzzyk qwrt."]
    rows = []
    for number, text in enumerate(texts):
        soundfile.write(folder / f"{number}.wav", speak(text, VOICES[4], 24_000), 24_000)
        rows.append({"id": str(number), "audio": f"{number}.wav", "text": text, "speaker": "evan"})
    manifest = folder / "manifest.jsonl"
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return f"speech={manifest}"


def test_recordings_are_cut_where_their_words_are(corpus, tmp_path, capsys):
    manifest = cut_words.cut_recordings([corpus], tmp_path / "cut", words=2, coverage=3.0)
    rows = [json.loads(line) for line in manifest.read_text().splitlines()]
    assert "1 of 3 recordings left out" in capsys.readouterr().out
    assert {row["speaker"] for row in rows} == {"evan"}
    assert all(
        row["text"] in "please open the window now henry saw a yellow rabbit" for row in rows
    )
    lengths = {}
    for row in rows:
        wav = read_audio(tmp_path / "cut" / row["audio"], 24_000)
        assert abs(wav[0]) < 1e-3
        assert abs(wav[-1]) < 1e-3
        lengths[row["text"]] = len(wav) / 24_000
    # Long words are longer than short ones, whatever the aligner's error.
    singles = {text: length for text, length in lengths.items() if " " not in text}
    longest = max(singles, key=lambda text: singles[text])
    assert longest in ("window", "yellow", "rabbit", "please", "henry", "now")
    assert all(0.04 < length < 2.5 for length in lengths.values())
    before = manifest.read_bytes()
    victim = tmp_path / "cut" / rows[0]["audio"]
    content = victim.read_bytes()
    victim.unlink()
    cut_words.cut_recordings([corpus], tmp_path / "cut", words=2, coverage=3.0, workers=2)
    assert manifest.read_bytes() == before
    assert victim.read_bytes() == content


def test_varied_pieces_are_faster_or_slower_and_nobody_s(corpus, tmp_path):
    plain = cut_words.cut_recordings([corpus], tmp_path / "plain", words=1, coverage=4.0)
    varied = cut_words.cut_recordings(
        [corpus], tmp_path / "varied", words=1, coverage=4.0, vary=0.25, seed=1
    )
    rows = [json.loads(line) for line in varied.read_text().splitlines()]
    assert {row["speaker"] for row in rows} == {""}
    before = {row["text"]: row for row in map(json.loads, plain.read_text().splitlines())}
    ratios = [
        soundfile.info(tmp_path / "varied" / row["audio"]).frames
        / soundfile.info(tmp_path / "plain" / before[row["text"]]["audio"]).frames
        for row in rows
        if row["text"] in before
    ]
    assert min(ratios) < 0.95 and max(ratios) > 1.05
    assert all(0.7 < ratio < 1.4 for ratio in ratios)


def test_texts_that_cannot_be_aligned_are_one_error(tmp_path):
    pytest.importorskip("pocketsphinx")
    soundfile.write(tmp_path / "a.wav", np.zeros(24_000, np.float32), 24_000)
    (tmp_path / "a.txt").write_text("zqxw")
    with pytest.raises(ValueError, match="none of 1 recordings"):
        cut_words.cut_recordings([f"speech={tmp_path}"], tmp_path / "out")
