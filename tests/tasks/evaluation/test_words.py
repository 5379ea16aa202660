"""Words kept by codecs: the table, its pairing, and one real recogniser."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from almtok.__main__ import main
from almtok.codec.config import ALMTokenizerConfig
from almtok.codec.evaluation.codecs import CodecResult, EvaluatedCodec
from almtok.codec.model import ALMTokenizer
from almtok.core.data.speakers import HEARD, UNHEARD, speaker_groups
from almtok.core.judges.recognizers import Recognizer
from almtok.tasks.evaluation.clips import list_clips
from almtok.tasks.evaluation.words import ORIGINAL, measure, to_markdown

from ...tiny_judges import save_whisper


class Quieter(EvaluatedCodec):
    """A coder that halves the sound, at a rate of its own."""

    name, sample_rate, kbps = "quieter", 16_000, 1.0

    def code(self, wav):
        return CodecResult(wav / 2, None, 8, 0.0, 0.0)


class Loudness(Recognizer):
    """A recogniser that hears all words of loud sounds and one less of quiet ones."""

    name = "loudness"

    def transcribe(self, wav, sample_rate, language=""):
        return "red green blue black" if np.abs(wav).max() > 0.3 else "red green blue"


class German(Loudness):
    """A recogniser of another language."""

    def transcribe(self, wav, sample_rate, language=""):
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
    assert rows[0].cer.mean == 0 and rows[1].cer.mean == pytest.approx(6 / 20)


def test_heard_speakers_are_apart(source, tmp_path, capsys):
    folder = Path(source.partition("=")[2]).parent
    names = {"0": "ann", "1": "bob", "2": ""}
    rows = [
        {"audio": f"{n}.wav", "id": n, "text": "Red green blue black", "speaker": speaker}
        for n, speaker in names.items()
    ]
    (folder / "named.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "train.jsonl").write_text(json.dumps(rows[1] | {"id": "x"}) + "\n")
    groups = speaker_groups(names, [str(folder / "train.jsonl")])
    assert groups == {HEARD: {"1"}, UNHEARD: {"0"}}
    clips = list_clips([f"speech={folder / 'named.jsonl'}"])
    rows, _ = measure(clips, [Quieter()], Loudness(), groups)
    assert [(row.speakers, row.wer.n) for row in rows[::2]] == [("", 3), (HEARD, 1), (UNHEARD, 1)]
    assert "Unheard speakers (1 clips)" in to_markdown(rows, "x")
    with pytest.raises(ValueError, match="--heard needs the names of speakers"):
        speaker_groups(names, [source])
    with pytest.raises(ValueError, match="none of the clips"):
        speaker_groups({"a": ""}, [str(folder / "train.jsonl")])


def test_words_are_compared_in_the_language_of_the_clip(tmp_path):
    soundfile.write(tmp_path / "a.wav", 0.5 * np.sin(np.arange(12_000) / 20), 24_000)
    row = {"audio": "a.wav", "id": "a", "text": "Es sind 25 €.", "language": "de"}
    (tmp_path / "manifest.jsonl").write_text(json.dumps(row) + "\n")
    rows, facts = measure(list_clips([f"speech={tmp_path / 'manifest.jsonl'}"]), [], German())
    assert facts[0]["language"] == "de" and rows[0].wer.mean == 0


def test_the_command_with_whisper(source, tmp_path, capsys):
    folder = save_whisper(tmp_path / "ears")
    ALMTokenizer(ALMTokenizerConfig.preset("tiny")).save_pretrained(tmp_path / "codec")
    words = ["codec", "word-errors", "--data", source, "--checkpoint", str(tmp_path / "codec")]
    words += ["--recognizer", f"whisper:{folder}", "--limit", "2", "--out", str(tmp_path / "out")]
    assert main(words) == 0
    table = capsys.readouterr().out
    assert "Words that whisper:ears (weights " in table and "no_repeat_ngram_size=6" in table
    told = json.loads((tmp_path / "out/words.json").read_text())
    assert told["recognizer"].startswith("whisper:ears (weights ")
    (heard,) = (tmp_path / "out").glob("heard_*.jsonl")
    assert len(heard.read_text().splitlines()) == 4
    before = heard.read_bytes()
    assert main(words) == 0
    assert heard.read_bytes() == before


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
