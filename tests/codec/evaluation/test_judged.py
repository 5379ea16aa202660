"""Judges in ``almtok codec evaluate``: recordings first, resumed by judge, heard speakers apart."""

import json

import numpy as np
import pytest
import soundfile

from almtok.codec.evaluation import cli, harness, judged
from almtok.core.data.speakers import HEARD, UNHEARD
from almtok.core.judges import load
from almtok.core.judges.mos import MOSPredictor
from almtok.core.judges.recognizers import Recognizer
from almtok.core.judges.speakers import SpeakerEncoder

from .conftest import RATE, NoisyCodec, make_voice
from .test_cli import main

pytest.importorskip("pesq")


class Ears(Recognizer):
    """Misses the last of three words in what is not a clean recording."""

    def __init__(self, name="ears"):
        self.name, self.asked = name, []

    def transcribe(self, wav, sample_rate, language=""):
        self.asked.append(language)
        return "my favorite word" if np.abs(wav[-50:]).max() < 0.005 else "my favorite"


class Pitch(SpeakerEncoder):
    """Embeds a voice by the strongest of two pitches."""

    name = "pitch"

    def embed(self, wav):
        spectrum = np.abs(np.fft.rfft(wav, 16_000))
        low, high = spectrum[80:160].max(), spectrum[200:280].max()
        both = np.array([low, high]) / np.hypot(low, high)
        return both.astype(np.float32)


class Peak(MOSPredictor):
    """Calls quiet audio good, and fails on short audio."""

    role, name = "distillmos", "peak"

    def score(self, wav):
        if wav.size < 16_000:
            raise RuntimeError("too\nshort")
        return {"distillmos": 5.0 - float(np.abs(wav).max())}


@pytest.fixture
def data(tmp_path):
    """Two clips of each of two speakers, and one too short for a judge."""
    rows = []
    for number, (name, hz, seconds) in enumerate(
        [("ann", 240, 1.2), ("ann", 245, 1.5), ("bob", 110, 1.2), ("bob", 115, 1.4), ("", 110, 0.9)]
    ):
        wav = make_voice(seconds, hz=hz, seed=number)
        wav[-600:] = 0
        soundfile.write(tmp_path / f"{number}.wav", wav, RATE, subtype="FLOAT")
        rows.append({"audio": f"{number}.wav", "id": str(number), "speaker": name,
                     "text": "My favourite word."})  # fmt: skip
    (tmp_path / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "train.jsonl").write_text(json.dumps(rows[2]) + "\n")
    return f"speech={tmp_path / 'test.jsonl'}"


@pytest.fixture
def panel(monkeypatch):
    """Judges that the command loads."""
    ears = Ears()
    ears.spelling = (("favourite", "favorite"),)
    monkeypatch.setattr(load, "load_recognizer", lambda name, **_: ears if name != "none" else None)
    monkeypatch.setattr(load, "load_speaker_encoder", lambda name, **_: Pitch())
    monkeypatch.setattr(load, "load_mos", lambda names: [Peak() for _ in names])
    monkeypatch.setattr(cli, "_load", lambda name, spec, device: NoisyCodec(name, 0.02))
    return ears


def test_the_table_has_the_recordings_and_both_groups(data, panel, tmp_path, capsys):
    out = tmp_path / "scores"
    command = ["evaluate", "--checkpoint", "ours", "--peers", "other", "--data", data, "--out",
               str(out), "--recognizer", "ears", "--speaker-encoder", "x", "--mos", "distillmos",
               "--heard", str(tmp_path / "train.jsonl"), "--reference", "recordings",
               "--html"]  # fmt: skip
    assert main(command) == 0
    table = json.loads((out / "table.json").read_text())
    assert table["domains"] == {
        "speech": 5, f"speech, {HEARD}": 2, f"speech, {UNHEARD}": 2
    }  # fmt: skip
    assert table["judges"] == {
        "recognizer": "ears", "speaker encoder": "pitch", "distillmos": "peak"
    }  # fmt: skip
    names = [row["name"] for row in table["codecs"]]
    assert names == ["recordings", "almtok", "other"]
    recordings, ours, _ = (row["domains"] for row in table["codecs"])
    assert set(recordings["speech"]["scores"]) == {"wer", "cer", "distillmos"}
    assert recordings["speech"]["scores"]["wer"]["mean"] == 0
    assert ours["speech"]["scores"]["wer"]["mean"] == pytest.approx(100 / 3)
    assert ours["speech"]["differences"]["wer"]["difference"]["mean"] == pytest.approx(100 / 3)
    assert ours["speech"]["differences"]["wer"]["higher"] == 1
    assert ours["speech"]["scores"]["distillmos"]["n"] == 4
    assert ours["speech"]["missing"]["distillmos"] == {"RuntimeError: too short": 1}
    assert ours[f"speech, {HEARD}"]["scores"]["stoi"]["n"] == 2
    assert ours["speech"]["scores"]["speaker"]["mean"] > 0.95
    scale = table["speaker_scale"]["speech"]
    assert scale["same"]["mean"] > 0.95 > 0.7 > scale["other"]["mean"]
    assert scale["same"]["n"] == scale["other"]["n"] == 4
    text = (out / "table.md").read_text()
    for part in ("- recognizer: ears", "### Speech, heard speakers (2 clips)",
                 "| two recordings of a speaker |", "| recordings |  | 5 |",
                 "WER % ↓", "no DistillMOS: almtok, speech, 1 clips: RuntimeError: too short",
                 ):  # fmt: skip
        assert part in text
    page = (out / "report.html").read_text()
    assert "recordings of two speakers" in page and "recognizer: ears" in page
    assert "2 codecs on the same clips" in page


def test_only_what_is_missing_is_judged(clips, tmp_path):
    speech = [clip for clip in clips if clip.domain == "speech"]

    def run(codec, *judges):
        return harness.evaluate_codec(codec, clips, tmp_path, judges=judges, progress=False)

    run(NoisyCodec())
    first, second = Ears(), Ears("other ears")
    codec = NoisyCodec()
    found = run(codec, first)
    # Scored before: coded again for the judge, speech only.
    assert codec.calls == len(first.asked) == len(speech)
    assert [bool(result.findings) for result in found] == [True, True, False, False]
    codec = NoisyCodec()
    assert run(codec, first) == found and codec.calls == 0
    run(codec, second)
    assert len(second.asked) == len(speech)
    run(codec, Peak(), second)
    assert len(second.asked) == len(speech)
    # The results have no findings in their file, which earlier versions read.
    line = (tmp_path / "clips" / "noisy.jsonl").read_text().splitlines()[1]
    assert "findings" not in json.loads(line)


def test_a_clip_that_a_judge_refuses_leaves_the_others(tmp_path):
    clips = [
        harness.EvaluationClip(str(n), "speech", 0.9, lambda n=n: make_voice(0.9 + n * 0.2))
        for n in range(3)
    ]
    results = harness.evaluate_codec(NoisyCodec(), clips, tmp_path, judges=[Peak()], progress=False)
    assert ["distillmos" in result.findings for result in results] == [False, True, True]
    scored, _ = judged.judged_results({"noisy": (NoisyCodec(), results)}, clips, [Peak()], {})
    assert scored["noisy"][1][0].missing["distillmos"] == "RuntimeError: too short"


def test_mistakes_are_told_before_the_run(data, panel, tmp_path):
    out = ["--out", str(tmp_path / "o"), "--checkpoint", "tiny"]
    music = data.replace("speech=", "music=")
    with pytest.raises(ValueError, match="judges need speech"):
        main(["evaluate", "--data", music, *out, "--mos", "distillmos"])
    folder = tmp_path / "wavs"
    folder.mkdir()
    soundfile.write(folder / "a.wav", make_voice(1.0), RATE)
    with pytest.raises(ValueError, match="needs transcripts of the clips"):
        main(["evaluate", "--data", f"speech={folder}", *out, "--recognizer", "ears"])
    (folder / "a.txt").write_text("My favourite word.")
    assert main(["evaluate", "--data", f"speech={folder}", *out, "--recognizer", "ears"]) == 0
