"""``almtok codec probe``: labels and splits, all kinds of features, the table."""

import json

import numpy as np
import pytest
import soundfile
import torch

from almtok.codec import ALMTokenizer, ALMTokenizerConfig
from almtok.codec.evaluation import probe_cli, probe_tasks
from almtok.codec.evaluation.probe_features import CodecFeatures, TokenizerFeatures
from almtok.codec.evaluation.probe_tasks import choose, clip_task, phone_task, split_groups
from almtok.codec.phonemes.aligner import Phone
from almtok.codec.phonemes.config import PHONES
from almtok.core.data.entries import AudioEntry
from almtok.core.options import Command

from .conftest import RATE, NoisyCodec, make_voice


def run(*arguments):
    """What ``almtok codec`` does with its arguments, errors not caught."""
    parser = Command(prog="almtok codec")
    probe_cli.register(parser.add_subparsers(required=True))
    options = parser.parse_args(["probe", "--no-progress", *map(str, arguments)])
    return options.run(options)


def write_corpus(folder, rows):
    """A manifest of (name, samples, columns)."""
    folder.mkdir()
    lines = []
    for name, wav, columns in rows:
        soundfile.write(folder / f"{name}.wav", wav, RATE)
        lines.append(json.dumps({"audio": f"{name}.wav", **columns}))
    (folder / "m.jsonl").write_text("\n".join(lines))
    return folder / "m.jsonl"


def test_groups_are_split_into_three_parts():
    names = [f"s{number}" for number in range(20)]
    parts = split_groups(names, 0)
    counts = [list(parts.values()).count(part) for part in ("train", "valid", "test")]
    assert counts == [12, 3, 5]
    assert split_groups(names[::-1], 0) == parts != split_groups(names, 1)
    assert sorted(split_groups(["a", "b", "c"], 0).values()) == ["test", "train", "valid"]


def test_every_class_is_in_every_part_and_small_ones_are_left_out():
    labels = {f"{name}{n}": name for name in "abc" for n in range({"a": 8, "b": 4, "c": 3}[name])}
    task = clip_task("speaker", labels, 0)
    assert task.classes == ("a", "b") and task.split_by == "clip"
    for part in ("train", "valid", "test"):
        found = {labels[clip] for clip, where in task.parts.items() if where == part}
        assert found == {"a", "b"}
    assert clip_task("class", {"x": "a", "y": "b"}, 0) is None


def entry(name, speaker="", **fields):
    return AudioEntry(id=name, path=name, domain="speech", speaker=speaker, text="a", **fields)


def test_phones_are_those_at_the_middle_of_windows_of_other_speakers():
    clips = {f"{who}{n}": entry(f"{who}{n}", who) for who in "abcdef" for n in range(2)}
    phones = [Phone("SIL", 0, 0.1), Phone("AA", 0.1, 0.21), Phone("S", 0.21, 0.4)]
    task = phone_task(clips, dict.fromkeys(clips, phones), 10.0, 0)
    assert [PHONES[label] for label in task.windows["a0"][1:]] == ["AA", "S", "S"]
    assert task.windows["a0"][0] == -1
    assert task.split_by == "speaker" and len(task.classes) == 39
    for who in "abcdef":
        assert task.parts[f"{who}0"] == task.parts[f"{who}1"]
    one = {name: entry(name, "a") for name in clips}
    assert phone_task(one, dict.fromkeys(one, phones), 10.0, 0).split_by == "clip"
    assert phone_task(one, {"a0": phones}, 10.0, 0) is None


def test_a_limit_keeps_whole_speakers():
    entries = [entry(f"{who}{n}", who) for n in range(5) for who in "abcdef"]
    chosen = choose(entries, 10, 0)
    assert len({one.speaker for one in chosen.values()}) == 2
    assert choose(entries[::-1], 10, 0) == chosen and len(choose(entries, None, 0)) == 30


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("codec")
    ALMTokenizer(ALMTokenizerConfig.preset("tiny")).save_pretrained(folder)
    return folder


def test_the_features_of_a_codec_are_those_of_its_codes(checkpoint):
    model = ALMTokenizer.from_pretrained(checkpoint).eval()
    wav = make_voice(12.0)
    found = TokenizerFeatures(model, "a", 3)(wav)
    expected = model.encode(torch.from_numpy(wav)[None, None], frames_per_query=3).audio_codes[0]
    assert torch.equal(found["a, codes"].values, expected.T)
    assert torch.equal(found["a, first code"].values, expected[:1].T)
    assert torch.equal(
        found["a, quantized"].values, model.quantizer.dequantize(expected[None])[0].detach()
    )
    codes = model.quantizer.quantize(found["a, queries"].values[None])
    assert (codes[0] == expected).float().mean() > 0.99
    assert found["a, codes"].rate == 25.0
    assert CodecFeatures(NoisyCodec())(wav)["noisy, codes"].values.shape == (600, 2)


def test_speakers_and_classes_of_a_corpus(tmp_path, checkpoint, capsys):
    rng = np.random.default_rng(0)
    rows = [
        (f"{who}{n}", make_voice(0.4, hz=hz, seed=n), {"speaker": who, "domain": "speech"})
        for who, hz in (("low", 90), ("high", 220), ("higher", 300))
        for n in range(8)
    ]
    for n in range(8):
        noise = 0.1 * rng.standard_normal(9600)
        rows.append((f"noise{n}", noise, {"label": "noise", "domain": "sound"}))
        rows.append(
            (f"hum{n}", make_voice(0.4, hz=60, seed=n), {"label": "hum", "domain": "sound"})
        )
    data, out = write_corpus(tmp_path / "data", rows), tmp_path / "out"
    command = ["--checkpoint", checkpoint, "--frames-per-query", 3, "--data", data, "--out", out]
    command += ["--features", "spectral:sound", "--tasks", "speaker", "class", "--device", "cpu"]
    assert run(*command) == 0
    table = json.loads((out / "table.json").read_text())
    rows = {row["features"]: row for row in table["rows"]}
    kinds = ("queries", "quantized", "codes", "first code")
    assert list(rows) == [
        "log-mel",
        *(f"almtok w=3, {kind}" for kind in kinds),
        next(name for name in rows if name.startswith("spectral")),
    ]
    for name in ("speaker", "class"):
        assert rows["log-mel"]["scores"][name]["accuracy"]["mean"] == 1
    assert rows["almtok w=3, codes"]["rate"] == 25
    assert rows["almtok w=3, queries"]["scores"]["class"]["accuracy"]["mean"] == 1
    assert table["tasks"]["speaker"] == {
        "classes": 3, "split_by": "clip", "clips": {"train": 15, "valid": 3, "test": 6}
    }  # fmt: skip
    assert table["chance"]["class"]["mean"] == 0.5
    text = (out / "table.md").read_text()
    assert "| features | per second | speaker (3, by clip) | class (2, by clip) |" in text
    assert "| log-mel | 93.75 | 100.0 [100.0, 100.0] |" in text
    capsys.readouterr()
    first = (out / "table.json").read_bytes()
    assert run(*command) == 0
    assert (out / "table.json").read_bytes() == first


class HalfAndHalf:
    """An aligner of clips that are a tone and then noise."""

    calls = 0

    def phones(self, wav, sample_rate, text):
        type(self).calls += 1
        return [Phone("AA", 0.0, 0.5), Phone("S", 0.5, 1.0)] if text == "ah sss" else []


def test_phones_of_a_corpus(tmp_path, checkpoint, monkeypatch):
    monkeypatch.setattr(probe_tasks, "Aligner", HalfAndHalf)
    rng = np.random.default_rng(0)
    rows = []
    for n in range(12):
        wav = make_voice(1.0, seed=n)
        wav[12_000:] = 0.1 * rng.standard_normal(12_000)
        columns = {"speaker": f"s{n // 2}", "domain": "speech", "text": "ah sss"}
        rows.append((f"c{n}", wav, columns))
    rows.append(("odd", make_voice(0.5), {"domain": "speech", "text": "7"}))
    data, out = write_corpus(tmp_path / "data", rows), tmp_path / "out"
    command = ["--checkpoint", checkpoint, "--data", data, "--out", out, "--device", "cpu"]
    assert run(*command) == 0
    table = json.loads((out / "table.json").read_text())
    assert table["tasks"]["phones"]["split_by"] == "speaker" and set(table["tasks"]) == {"phones"}
    assert set(table["not_probed"]) == {"speaker", "class"}
    scores = {row["features"]: row["scores"]["phones"] for row in table["rows"]}
    assert scores["log-mel"]["accuracy"]["mean"] > 0.9
    assert scores["log-mel"]["test"] == 12 * 4  # windows of four clips
    calls = HalfAndHalf.calls
    assert run(*command) == 0
    assert HalfAndHalf.calls == calls == 13  # alignments are kept


def test_refusals(tmp_path, checkpoint):
    data = write_corpus(tmp_path / "data", [("a", make_voice(0.5), {})])
    with pytest.raises(ValueError, match="expected --checkpoint, --features or --peers"):
        run("--data", data, "--out", tmp_path / "out")
    with pytest.raises(ValueError, match=r"labels for no probe: speaker: needs two speakers"):
        run("--data", data, "--out", tmp_path / "out", "--checkpoint", checkpoint,
            "--tasks", "speaker")  # fmt: skip
    with pytest.raises(ValueError, match="embedding must be one of"):
        run("--data", data, "--out", tmp_path / "out", "--features", "vggish")
    with pytest.raises(ValueError, match="--limit must be at least 1"):
        run("--data", data, "--out", tmp_path, "--features", "spectral", "--limit", "0")
