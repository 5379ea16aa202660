"""Judges of generated speech: their facts, figures and names, and the command."""

import json

import numpy as np
import pytest

from almtok.__main__ import main
from almtok.core.judges.base import JudgedAudio
from almtok.core.judges.mos import MOSPredictor
from almtok.core.judges.recognizers import Recognizer
from almtok.core.judges.speakers import SpeakerEncoder
from almtok.tasks.commands import evaluate as command
from almtok.tasks.evaluation.evaluator import evaluate_facts, to_html, to_markdown
from almtok.tasks.evaluation.judging import SpeechJudges

from ..conftest import LINES


class Ears(Recognizer):
    """Hears American English."""

    name, details = "ears", "ears 1.0"
    spelling = (("favourite", "favorite"),)

    def transcribe(self, wav, sample_rate, language=""):
        return "my favorite cat"


class Sign(SpeakerEncoder):
    """Embeds a voice by the signs of its ends."""

    name = "sign"

    def embed(self, wav):
        return np.sign([wav[0], wav[-1]]).astype(np.float32) / np.float32(np.sqrt(2))


class Peak(MOSPredictor):
    """Scores by the peak."""

    role, name, details = "distillmos", "peak", "peak 2.0"

    def score(self, wav):
        return {"distillmos": 1 + float(np.abs(wav).max())}


def audio(first, last):
    return JudgedAudio(np.linspace(first, last, 160, dtype=np.float32), 16_000)


JUDGES = SpeechJudges(Ears(), [Sign(), Peak()])


def test_every_version_is_judged():
    clips = [
        {"original": audio(1, 1), "codec": audio(1, -1), "tts": audio(-1, -1)},
        {"original": audio(1, 1), "codec": audio(2, 1), "tts": audio(-1, -1),
         "voice": audio(-1, -1)},
    ]  # fmt: skip
    first, second = JUDGES.ask(clips)
    assert first["speaker_codec"] == pytest.approx(0, abs=1e-5)
    assert first["speaker_tts"] == pytest.approx(-1, abs=1e-5)
    assert second["speaker_codec"] == second["speaker_tts"] == pytest.approx(1, abs=1e-5)
    assert (first["distillmos_tts"], second["distillmos_codec"]) == (2, 3)
    assert first["judge_codec"] == "my favorite cat"
    assert "distillmos_voice" not in second and "judge_voice" not in second
    assert SpeechJudges().ask([{}, {}]) == [{}, {}]


def test_the_key_of_a_recognizer_alone_is_its_name():
    assert SpeechJudges().key == "none" and SpeechJudges(Ears()).key == "ears"
    assert JUDGES.key == ["ears", "sign", "peak; peak 2.0"]
    assert JUDGES.pinned["recognizer"] == "ears; ears 1.0"


def test_the_table_has_the_scale_of_the_speakers_and_the_names():
    facts = [
        {"id": str(n), "domain": "speech", "text": "My favourite cat!", "seconds": 1.0,
         "asr": "", "asr_rtf": 0.1, "tts_seconds": 1.0, "tts_finish": "end", "tts_rtf": 0.1,
         "tts_own": "", "tts_confidence": None, "speaker": "ann" if n < 2 else "bob",
         "judge_original": "my favorite cat", "judge_codec": "my cat", "judge_tts": "",
         "speaker_codec": 0.8, "speaker_tts": 0.6, "embedding": [float(n < 2), float(n >= 2)],
         "distillmos_original": 4.0, "distillmos_codec": 3.0, "distillmos_tts": 2.0}
        for n in range(4)
    ]  # fmt: skip
    settings = {"recogniser": "ears", "judges": JUDGES.pinned}
    table = evaluate_facts(facts, settings, Ears.spelling)
    figures = {figure.name: figure.value.mean for figure in table.figures}
    assert figures["WER, ears on recordings (%)"] == 0
    assert figures["WER, ears on recordings through the codec (%)"] == pytest.approx(1 / 3)
    assert figures["similarity of speakers, recordings through the codec"] == pytest.approx(0.8)
    assert figures["similarity of speakers, speech that was made, to its voice"] == 0.6
    assert figures["similarity of speakers, two recordings of a speaker"] == 1
    assert figures["similarity of speakers, recordings of two speakers"] == 0
    assert figures["DistillMOS, speech that was made"] == 2
    assert "* distillmos: peak; peak 2.0" in to_markdown(table)
    assert "<li>recognizer: ears; ears 1.0</li>" in to_html(table, facts, "x")


def test_the_command_asks_them(learned, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(command, "load_recognizer", lambda *_, **__: Ears())
    monkeypatch.setattr(command, "load_speaker_encoder", lambda *_, **__: Sign())
    monkeypatch.setattr(command, "load_mos", lambda names: [Peak() for _ in names])
    rows = []
    for number, text in enumerate(LINES):
        learned.pipeline.save(learned.tokens[text], tmp_path / f"{number}.wav")
        rows.append({"audio": f"{number}.wav", "text": text, "speaker": "ann"})
    (tmp_path / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    arguments = [
        "lm", "evaluate", "--checkpoint", learned.folder, "--out", str(tmp_path / "scores"),
        "--data", f"speech={tmp_path / 'test.jsonl'}", "--temperature", "0", "--guidance", "1",
        "--speaker-encoder", "x", "--mos", "distillmos", "--html",
    ]  # fmt: skip
    assert main(arguments) == 0
    printed = capsys.readouterr().out
    assert "| tts | DistillMOS, recordings through the codec |" in printed
    table = json.loads((tmp_path / "scores" / "table.json").read_text())
    assert table["settings"]["judges"]["distillmos"] == "peak; peak 2.0"
