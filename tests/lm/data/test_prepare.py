"""`almtok lm prepare`: what becomes of a corpus, what is said of it, and that its source stays."""

import errno
import json
import shutil

import numpy as np
import pytest
import soundfile

from almtok.__main__ import main
from almtok.core.data.manifests import list_entries
from almtok.lm.data import prepare as module
from almtok.lm.data.prepare import PrepareConfig, prepare


def tree(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def facts(folder):
    return [json.loads(line) for line in (folder / "manifest.jsonl").read_text().splitlines()]


@pytest.fixture
def corpora(make, tmp_path):
    """The same four recordings in each form that a user may have."""
    texts = [f"words number {n}" for n in range(4)]
    beside = tmp_path / "beside"
    for n, text in enumerate(texts):
        make.wav(beside / f"{n}.wav", 0.5 + 0.1 * n, n, rate=16_000)
        (beside / f"{n}.lab").write_text(text)
    lj = tmp_path / "lj"
    shutil.copytree(beside, lj / "wavs")
    lines = [f"{n}|Raw {n}|{text}" for n, text in enumerate(texts)]
    (lj / "metadata.csv").write_text("\n".join(lines))
    kaldi = tmp_path / "kaldi"
    kaldi.mkdir()
    (kaldi / "wav.scp").write_text("".join(f"{n} {beside / f'{n}.wav'}\n" for n in range(4)))
    (kaldi / "text").write_text("".join(f"{n} {text}\n" for n, text in enumerate(texts)))
    (kaldi / "utt2spk").write_text("".join(f"{n} anna\n" for n in range(4)))
    table = tmp_path / "table.csv"
    rows = [f"{beside / f'{n}.wav'},{text}" for n, text in enumerate(texts)]
    table.write_text("\n".join(["audio,text", *rows]))
    return {"beside": beside, "lj": lj, "kaldi": kaldi, "table": table}


@pytest.mark.parametrize("kind", ["beside", "lj", "kaldi", "table"])
def test_every_form_becomes_the_same_manifest_and_the_source_stays(kind, corpora, tmp_path):
    before = tree(tmp_path)
    out = tmp_path / "out"
    result = prepare([f"speech={corpora[kind]}"], out, progress=False)
    assert result.rows == 4 and not result.skipped and result.without_text == 0
    after = {name: data for name, data in tree(tmp_path).items() if not name.startswith("out/")}
    assert after == before
    rows = facts(out)
    assert [row["text"] for row in rows] == [f"words number {n}" for n in range(4)]
    for n, row in enumerate(rows):
        info = soundfile.info(out / row["audio"])
        assert (info.samplerate, info.format, info.channels) == (24_000, "FLAC", 1)
        assert row["duration"] == pytest.approx(0.5 + 0.1 * n, abs=0.01)
    if kind == "kaldi":
        assert {row["speaker"] for row in rows} == {"anna"}
    read = list_entries([f"speech={out / 'manifest.jsonl'}"], transcripts=True)
    assert [one.text for one in read] == [row["text"] for row in rows]


def test_what_deserves_a_look_is_said(make, tmp_path, capsys):
    folder = tmp_path / "bad"
    for n in range(30):
        make.wav(folder / f"{n:02d}.wav", 1.0, n)
        (folder / f"{n:02d}.txt").write_text(f"ten letters {n}")
    shutil.copy(folder / "00.wav", folder / "copy.wav")
    (folder / "copy.txt").write_text("another text")
    (folder / "01.txt").write_text("far too many words " * 20)
    (folder / "02.txt").unlink()
    (folder / "03.wav").write_bytes(b"no audio at all")
    soundfile.write(folder / "04.wav", np.zeros(24_000, np.float32), 24_000)
    soundfile.write(folder / "05.wav", np.zeros(240, np.float32) + 0.1, 24_000)
    loud = np.clip(3 * np.sin(np.arange(24_000) / 30), -1, 1)
    soundfile.write(folder / "06.wav", loud, 24_000)
    out = tmp_path / "out"
    words = ["lm", "prepare", f"speech={folder}", "--out", str(out), "--no-progress"]
    assert main([*words, "--strict"]) == 1
    said = capsys.readouterr().out
    for part in (
        "1 corrupt",
        "1 silent",
        "1 too_short",
        "01.wav: 3",
        "00.wav = copy.wav",
        "clipped: 1",
    ):
        assert part in said, part
    assert "without text (no use for tts and asr): 1" in said
    report = json.loads((out / "report.json").read_text())
    assert report["clipped"] == ["06.wav"] and len(report["skipped"]) == 3
    assert main(words) == 0  # without --strict it is only said


def test_leaks_between_splits_are_found(make, tmp_path):
    rows = []
    for n, split in enumerate(["train", "train", "test", "dev"]):
        make.wav(tmp_path / f"{n}.wav", 0.5, n % 3)
        row = {"audio": f"{n}.wav", "id": str(n), "split": split, "speaker": "anna"}
        rows.append({**row, "text": ["one", "two", "two", "three"][n]})
    (tmp_path / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = prepare([f"speech={tmp_path}"], tmp_path / "out", progress=False).findings
    assert found.audio_leaks == (("0", "3"),)
    assert found.text_leaks == (("1", "2"),)
    assert found.speaker_overlap == 1


def test_splits_are_made_of_texts_where_there_are_none(make, tmp_path):
    for n in range(60):
        make.wav(tmp_path / "a" / f"{n}.wav", 0.4, n)
        (tmp_path / "a" / f"{n}.txt").write_text(f"text {n % 30}")
    config = PrepareConfig(valid_share=0.2, test_share=0.2)
    prepare([f"speech={tmp_path / 'a'}"], tmp_path / "out", config, progress=False)
    of_text = {}
    for row in facts(tmp_path / "out"):
        of_text.setdefault(row["text"], set()).add(row["split"])
    assert all(len(splits) == 1 for splits in of_text.values())
    assert {split for splits in of_text.values() for split in splits} == {"train", "valid", "test"}


def test_files_may_stay_where_they_are(corpora, tmp_path):
    out = tmp_path / "out"
    prepare([f"speech={corpora['lj']}"], out, PrepareConfig(audio="as-is"), progress=False)
    assert not (out / "audio").exists()
    assert [row["audio"] for row in facts(out)] == [
        str(corpora["lj"] / f"wavs/{n}.wav") for n in range(4)
    ]


def test_a_full_disk_loses_nothing_and_the_same_call_goes_on(
    corpora, tmp_path, monkeypatch, capsys
):
    out = tmp_path / "out"
    write, written = module.write_audio, []

    def write_two(path, wav, rate):
        if len(written) == 2:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        written.append(path)
        write(path, wav, rate)

    monkeypatch.setattr(module, "write_audio", write_two)
    words = ["lm", "prepare", f"speech={corpora['lj']}", "--out", str(out), "--no-progress"]
    assert main(words) == 1
    assert "No space left" in capsys.readouterr().err
    assert not (out / "manifest.jsonl").exists()
    with open(out / "manifest.partial.jsonl", "a") as partial:
        partial.write('{"id": "2", "aud')  # a kill in the middle of a line
    written.clear()
    assert main(words) == 0
    assert len(written) == 2  # the other two were there
    monkeypatch.setattr(module, "write_audio", write)
    fresh = tmp_path / "fresh"
    prepare([f"speech={corpora['lj']}"], fresh, progress=False)
    names = ("manifest.jsonl", *(row["audio"] for row in facts(out)))
    assert all((out / name).read_bytes() == (fresh / name).read_bytes() for name in names)


def test_another_corpus_in_the_same_folder_is_refused(corpora, tmp_path, capsys):
    out = tmp_path / "out"
    words = ["--out", str(out), "--no-progress"]
    assert main(["lm", "prepare", f"speech={corpora['lj']}", *words]) == 0
    before = tree(out)
    assert main(["lm", "prepare", f"speech={corpora['beside']}", *words]) == 1
    assert "another corpus" in capsys.readouterr().err
    assert main(["lm", "prepare", f"speech={corpora['lj']}", *words, "--min-seconds", "0.6"]) == 1
    assert tree(out) == before
    assert main(["lm", "prepare", f"speech={corpora['beside']}", *words, "--overwrite"]) == 0


def test_a_folder_that_is_no_folder_of_ours_is_left_alone(corpora, tmp_path, capsys):
    source = tmp_path / "out"
    source.mkdir()
    (source / "manifest.jsonl").write_text("theirs")
    words = ["lm", "prepare", f"speech={corpora['lj']}", "--out", str(source), "--no-progress"]
    assert main(words) == 1
    assert "not ours" in capsys.readouterr().err
    assert (source / "manifest.jsonl").read_text() == "theirs"


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda folder: None, "names no audio"),
        (lambda folder: (folder / "a.wav").write_bytes(b""), "none of 1 recordings is usable"),
        (lambda folder: (folder / "manifest.csv").write_text("sound,words\na.wav,b\n"), "audio"),
    ],
)
def test_nothing_to_prepare_is_one_line(build, message, tmp_path, capsys):
    folder = tmp_path / "in"
    folder.mkdir()
    build(folder)
    words = ["lm", "prepare", f"speech={folder}", "--out", str(tmp_path / "out"), "--no-progress"]
    assert main(words) == 1
    *log, error = capsys.readouterr().err.splitlines()
    assert error.startswith("almtok: error: ") and message in error
    assert log in ([], [f"speech={folder}: 1 clip"])


def test_one_recording_is_a_corpus(make, tmp_path):
    make.wav(tmp_path / "one" / "a.wav", 1.0)
    result = prepare([f"speech={tmp_path / 'one'}"], tmp_path / "out", progress=False)
    assert result.rows == 1 and result.without_text == 1
    assert facts(tmp_path / "out")[0]["split"] == "train"


def test_rows_of_a_table_cannot_stay_as_files(make, tmp_path):
    import pyarrow
    import pyarrow.parquet

    wav = make.wav(tmp_path / "a.wav").read_bytes()
    table = pyarrow.table({"audio": [{"bytes": wav, "path": "a.wav"}], "text": ["hello"]})
    pyarrow.parquet.write_table(table, tmp_path / "train.parquet")
    source = [f"speech={tmp_path / 'train.parquet'}"]
    with pytest.raises(ValueError, match="only --audio flac"):
        prepare(source, tmp_path / "x", PrepareConfig(audio="as-is"), progress=False)
    assert prepare(source, tmp_path / "out", progress=False).rows == 1
