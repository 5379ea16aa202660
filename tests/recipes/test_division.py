"""A recipe with training sources only divides them: once, in its folder, and says so."""

import json

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
import soundfile

from almtok.__main__ import main
from almtok.core.data import EntryReader, list_entries
from almtok.core.data.entries import AudioEntry
from almtok.core.data.split_files import write_manifest
from almtok.recipes import cli, run
from almtok.recipes.division import divide

PARTS = ("train", "valid", "test")


def wav(path, number):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.full(4800, 0.001 * (number + 1)), 24_000)
    return path


@pytest.fixture
def ljspeech(tmp_path):
    """A corpus of one voice."""
    folder = tmp_path / "lj"
    for number in range(40):
        wav(folder / "wavs" / f"{number:02d}.wav", number)
    lines = [f"{number:02d}|sentence number {number}\n" for number in range(40)]
    (folder / "metadata.csv").write_text("".join(lines))
    return folder


def divided(words, write=True):
    _, told = cli.parse("tts", words)
    return told.options, divide(told.options, write=write)


def test_a_folder_alone_is_divided_and_kept(ljspeech, tmp_path, capsys):
    words = ["--train", str(ljspeech), "--out", str(tmp_path / "out")]
    options, parts = divided(words)
    first, second = capsys.readouterr().out.strip().splitlines()
    assert first == "=== split: train 36 clips, 0.002 h; valid 2 clips, 0.00011 h; test 2 clips," \
        " 0.00011 h (by text)"  # fmt: skip
    assert "--train SOURCE --valid SOURCE --test SOURCE" in second and "out/split" in second
    for part in PARTS:
        (source,) = options.sources(part)
        assert source == f"speech={tmp_path}/out/split/speech/{part}.jsonl"
        entries = list_entries([source], transcripts=True)
        assert [e.text for e in entries] == [e.text for e in parts[part]]
        assert {(e.domain, e.split) for e in entries} == {("speech", part)}
        assert len(EntryReader().read(entries[0], None)) == 4800
    with (ljspeech / "metadata.csv").open("a") as file:  # a recording that comes later
        file.write("00|another sentence\n".replace("00", "99"))
    _, again = divided(words)
    assert {p: [e.id for e in e_s] for p, e_s in again.items()} == {
        p: [e.id for e in e_s] for p, e_s in parts.items()
    }
    assert "kept from before" in capsys.readouterr().out


def test_a_division_of_other_sources_is_refused(ljspeech, tmp_path):
    divided(["--train", str(ljspeech), "--out", str(tmp_path / "out")])
    with pytest.raises(
        ValueError, match="was made of speech=.*lj, asked for sound=.*choose another"
    ):
        divided(["--train", f"sound={ljspeech}", "--out", str(tmp_path / "out")])


def test_a_dry_run_shows_the_division_and_writes_nothing(ljspeech, tmp_path, capsys, monkeypatch):
    out = tmp_path / "out"
    words = ["run", "tts", "--train", str(ljspeech), "--out", str(out)]
    assert main([*words, "--dry-run"]) == 0
    printed = capsys.readouterr().out
    assert f"speech={out}/split/speech/train.jsonl" in printed and "=== split: train 36" in printed
    assert not out.exists()
    monkeypatch.setattr("almtok.recipes.run.run_process", lambda argv: 7)
    assert run.run_process is not None and main(words) == 7
    assert json.loads((out / "split" / "split.json").read_text())["sources"] == {
        "speech": [f"speech={ljspeech}"]
    }


def test_a_corpus_that_is_too_small_is_refused(ljspeech, tmp_path, capsys):
    lines = (ljspeech / "metadata.csv").read_text().splitlines()[:12]
    (ljspeech / "metadata.csv").write_text("\n".join(lines))
    words = ["run", "tts", "--train", str(ljspeech), "--out", str(tmp_path / "out")]
    assert main([*words, "--dry-run"]) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert "speech has 12 clips with 12 different texts, and at least 20 are needed" in error


def test_rows_of_parquet_and_excerpts_are_divided(tmp_path):
    data = wav(tmp_path / "x.wav", 0).read_bytes()
    audio = [{"bytes": data, "path": None}] * 24
    texts = [f"row {number}" for number in range(24)]
    (tmp_path / "rows").mkdir()
    table = pyarrow.table({"audio": audio, "text": texts})
    pyarrow.parquet.write_table(table, tmp_path / "rows" / "all.parquet")
    long = tmp_path / "long" / "x.wav"
    long.parent.mkdir()
    soundfile.write(long, np.linspace(-0.5, 0.5, 24 * 2400), 24_000)
    rows = [
        {"audio": "x.wav", "offset": 0.1 * n, "duration": 0.1, "text": f"part {n}"}
        for n in range(24)
    ]
    manifest = long.parent / "manifest.jsonl"
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
    words = ["--train", f"speech={tmp_path / 'rows'}", f"speech={long.parent}"]
    options, parts = divided([*words, "--out", str(tmp_path / "out")])
    reader = EntryReader()
    for part in PARTS:
        entries = list_entries(options.sources(part), transcripts=True)
        assert [e.text for e in entries] == [e.text for e in parts[part]]
        for entry in entries:
            assert len(reader.read(entry, None)) == (4800 if entry.row >= 0 else 2400)


def test_rows_that_name_their_domain_keep_it(tmp_path):
    corpus, lines = tmp_path / "corpus", []
    for number in range(48):
        wav(corpus / f"{number}.wav", number)
        domain = ("speech", "sound")[number % 2]
        row = {"audio": f"{number}.wav", "text": f"text {number}", "domain": domain}
        lines.append(json.dumps(row) + "\n")
    (corpus / "manifest.jsonl").write_text("".join(lines))
    options, parts = divided(["--train", str(corpus), "--out", str(tmp_path / "out")])
    assert options.sources("valid") == [str(tmp_path / "out" / "split" / "valid.jsonl")]
    assert {entry.domain for entry in parts["test"]} == {"speech", "sound"}


def test_rows_of_a_saved_dataset_are_divided(ljspeech, tmp_path):
    datasets = pytest.importorskip("datasets")
    files = [str(ljspeech / "wavs" / f"{number:02d}.wav") for number in range(24)]
    rows = {"audio": files, "text": [f"row {number}" for number in range(24)]}
    saved = datasets.Dataset.from_dict(rows).cast_column("audio", datasets.Audio(decode=False))
    saved.save_to_disk(tmp_path / "saved")
    options, parts = divided(["--train", str(tmp_path / "saved"), "--out", str(tmp_path / "out")])
    entries = list_entries(options.sources("test"), transcripts=True)
    assert [e.text for e in entries] == [e.text for e in parts["test"]]
    assert not [entry for entry in entries if entry.stamp == "missing"]
    number = int(entries[0].text.split()[1])
    expected = soundfile.read(files[number], dtype="float32")[0]
    assert (EntryReader().read(entries[0], None) == expected).all()


def test_a_source_without_clips_of_a_part_is_refused(ljspeech, tmp_path):
    rows = [{"audio": str(ljspeech / "wavs/00.wav"), "text": "some", "domain": "speech"}]
    manifest = tmp_path / "small.jsonl"
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
    words = ["--out", str(tmp_path / "out"), "--train", f"speech={ljspeech}"]
    with pytest.raises(ValueError, match="none of the 1 clips of .*small.jsonl is in .*domain"):
        divided([*words, str(manifest)])
    assert not (tmp_path / "out").exists()
    divided([*words, f"speech={manifest}"])


def test_a_dry_run_of_a_division_prints_one_document(ljspeech, tmp_path, capsys):
    words = ["tts", "--train", str(ljspeech), "--out", str(tmp_path / "out"), "--dry-run"]
    for told in (["run", *words, "--json"], ["run", "--json", *words]):
        assert main(told) == 0
        shown = capsys.readouterr()
        assert any("almtok lm train" in line for line in json.loads(shown.out))
        assert "=== split: train 36" in shown.err


def test_files_that_are_missing_or_have_odd_names_are_refused(ljspeech, tmp_path, capsys):
    for file in (ljspeech / "wavs").iterdir():
        file.unlink()
    out = tmp_path / "out"
    assert main(["run", "tts", "--train", str(ljspeech), "--out", str(out), "--dry-run"]) == 1
    assert "none of the 40 audio files of --train exists" in capsys.readouterr().err
    odd = AudioEntry(id="x", path="/a/caf\udce9.wav")
    with pytest.raises(ValueError, match="caf.*the name of the file is not UTF-8"):
        write_manifest(tmp_path / "train.jsonl", [odd])
