"""Words kept by codecs: the table, its pairing, and one real recogniser."""

import json

import numpy as np
import pytest
import soundfile

from almtok.__main__ import main
from almtok.codec.config import ALMTokenizerConfig
from almtok.codec.evaluation.codecs import CodecResult, EvaluatedCodec
from almtok.codec.model import ALMTokenizer
from almtok.tasks.evaluation.measure import list_clips
from almtok.tasks.evaluation.words import ORIGINAL, measure, to_markdown


class Quieter(EvaluatedCodec):
    """A coder that halves the sound, at a rate of its own."""

    name, sample_rate, kbps = "quieter", 16_000, 1.0

    def code(self, wav):
        return CodecResult(wav / 2, None, 8, 0.0, 0.0)


class Loudness:
    """A recogniser that hears all words of loud sounds and one less of quiet ones."""

    name = "loudness"

    def transcribe(self, wav, sample_rate):
        return "red green blue black" if np.abs(wav).max() > 0.3 else "red green blue"


class German(Loudness):
    """A recogniser of another language."""

    def transcribe(self, wav, sample_rate):
        return "es sind fünfundzwanzig euro"


@pytest.fixture
def source(tmp_path):
    rows = []
    for n in range(3):
        wav = 0.5 * np.sin(np.arange(12_000) * (n + 1) / 20)
        soundfile.write(tmp_path / f"{n}.wav", wav, 24_000)
        rows.append({"audio": f"{n}.wav", "id": str(n), "text": "Red green blue, black!"})
    (tmp_path / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return f"speech={tmp_path / 'manifest.jsonl'}"


def test_the_difference_is_paired_with_the_recordings(source):
    rows, facts = measure(list_clips([source]), [Quieter()], Loudness())
    assert [row.coder for row in rows] == [ORIGINAL, "quieter"]
    assert rows[0].wer.mean == 0 and rows[0].lost is None
    assert rows[1].wer.mean == rows[1].lost.mean == 0.25
    assert len(facts) == 3
    assert "| quieter | 1 | 25.0 [25.0, 25.0] | 25.0 [25.0, 25.0] |" in to_markdown(rows, "x")


def test_words_are_compared_in_the_language_of_the_clip(tmp_path):
    soundfile.write(tmp_path / "a.wav", 0.5 * np.sin(np.arange(12_000) / 20), 24_000)
    row = {"audio": "a.wav", "id": "a", "text": "Es sind 25 €.", "language": "de"}
    (tmp_path / "manifest.jsonl").write_text(json.dumps(row) + "\n")
    rows, facts = measure(list_clips([f"speech={tmp_path / 'manifest.jsonl'}"]), [], German())
    assert facts[0]["language"] == "de" and rows[0].wer.mean == 0


def test_the_command_says_what_was_heard(source, tmp_path, capsys):
    pytest.importorskip("pocketsphinx")
    ALMTokenizer(ALMTokenizerConfig.preset("tiny")).save_pretrained(tmp_path / "codec")
    words = ["codec", "word-errors", "--data", source, "--checkpoint", str(tmp_path / "codec")]
    assert main([*words, "--limit", "2", "--out", str(tmp_path / "out")]) == 0
    assert "| almtok |" in capsys.readouterr().out
    told = json.loads((tmp_path / "out/words.json").read_text())
    assert [len(clip["heard"]) for clip in told["clips"]] == [2, 2]
    assert main([*words, "--recognizer", "none", "--out", str(tmp_path / "out")]) == 1
    assert "--recognizer pocketsphinx" in capsys.readouterr().err
