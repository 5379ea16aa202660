import dataclasses

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from almtok.core.data.entries import assign_splits, infer_split
from almtok.core.data.manifests import list_entries
from almtok.lm.data.clips import DecodedClip, decode_buffers
from almtok.lm.data.config import TokenizeConfig


def listed(sources):
    return list_entries(sources, transcripts=True)


def facts(sources):
    return [
        (r.id, r.text, r.speaker, r.domain, r.split)
        for r in listed(sources if isinstance(sources, list) else [sources])
    ]


def test_manifest_has_splits_texts_and_speakers(corpus):
    rows = facts(corpus)
    assert rows[0] == ("r00", "words of row 0", "s0", "speech", "train")
    assert rows[4] == ("r04", "words of row 4", "s0", "speech", "valid")  # dev means valid
    assert [row[0] for row in facts(f"{corpus}:valid")] == ["r04", "r09"]
    assert {row[4] for row in facts(f"{corpus}:valid")} == {"valid"}


@pytest.mark.parametrize("suffix", [",", "\t"])
def test_csv_manifest(make, tmp_path, suffix):
    make.wav(tmp_path / "a.wav")
    name = "list.csv" if suffix == "," else "list.tsv"
    header, row = ["file", "text", "split"], ["a.wav", "one", "test"]
    (tmp_path / name).write_text(f"{suffix.join(header)}\n{suffix.join(row)}\n")
    assert facts(tmp_path / name) == [("a.wav", "one", "", "", "test")]


def test_kaldi(make, tmp_path):
    folder = tmp_path / "train_clean"
    make.wav(folder / "long.wav", 2.0)
    make.wav(tmp_path / "abs.wav", 0.5)
    (folder / "wav.scp").write_text(f"long long.wav\nu2 {tmp_path}/abs.wav\n")
    (folder / "text").write_text("u2 TWO WORDS\n")
    (folder / "utt2spk").write_text("u2 bob\n")
    assert facts(folder) == [
        ("long", "", "", "speech", "train"),
        ("u2", "TWO WORDS", "bob", "speech", "train"),
    ]
    (folder / "segments").write_text("a long 0.5 1.25\nb long 1.5 -1\nu2 u2 0 0.4\n")
    (folder / "text").write_text("a first\nb\tsecond\n")
    recordings = listed([folder])
    assert [(r.id, r.text, r.start, r.seconds) for r in recordings] == [
        ("a", "first", 0.5, 0.75),
        ("b", "second", 1.5, None),
        ("u2", "", 0.0, 0.4),
    ]
    (clips,) = decode_buffers(recordings, 24_000, TokenizeConfig())
    assert [len(clip.wav) for clip in clips] == [18_000, 12_000, 9_600]
    whole = decode_buffers(listed([folder / "long.wav"]), 24_000, TokenizeConfig())
    (wav,) = [clip.wav for clip in next(whole)]
    assert np.array_equal(clips[0].wav, wav[12_000:30_000])


def test_kaldi_commands_are_refused(tmp_path):
    (tmp_path / "wav.scp").write_text("u1 sox in.sph -t wav - |\n")
    with pytest.raises(ValueError, match="u1 must be a file, got a command .* not run"):
        listed([tmp_path])


def test_kaldi_segments_must_make_sense(tmp_path):
    (tmp_path / "wav.scp").write_text("u1 a.wav\n")
    (tmp_path / "segments").write_text("s1 u1 2 1\n")
    with pytest.raises(ValueError, match="got 2.0 to 1.0"):
        listed([tmp_path])
    (tmp_path / "segments").write_text("s1 u9 0 1\n")
    with pytest.raises(ValueError, match="u9, not in wav.scp"):
        listed([tmp_path])


def test_ljspeech(make, tmp_path):
    make.wav(tmp_path / "wavs" / "LJ001-0001.wav")
    make.wav(tmp_path / "beside.flac")
    (tmp_path / "metadata.csv").write_text(
        'LJ001-0001|Printed in 1455, "so".|Printed in fourteen fifty-five, "so".\n'
        "beside|Plain text|\n",
    )
    assert facts(f"speech={tmp_path}") == [
        ("LJ001-0001", 'Printed in fourteen fifty-five, "so".', "", "speech", ""),
        ("beside", "Plain text", "", "speech", ""),
    ]
    assert all(r.stamp != "missing" for r in listed([tmp_path]))


def test_texts_beside_audio(make, tmp_path):
    for name in ("a", "b", "c", "1-2-0003", "e"):
        make.wav(tmp_path / "train" / "deep" / f"{name}.wav")
    folder = tmp_path / "train" / "deep"
    (folder / "a.txt").write_text("one\nline  or two\n")
    (folder / "b.lab").write_text("from a label")
    (folder / "c.txt").write_text("raw 3")
    (folder / "c.normalized.txt").write_text("raw three")
    (folder / "1-2.trans.txt").write_text("1-2-0003 AS IN LIBRISPEECH\n1-2-0004 NOT HERE\n")
    texts = {row[0].split("/")[-1]: row[1] for row in facts(tmp_path)}
    assert texts == {
        "1-2-0003.wav": "AS IN LIBRISPEECH",
        "a.wav": "one line or two",
        "b.wav": "from a label",
        "c.wav": "raw three",
        "e.wav": "",
    }
    assert {row[4] for row in facts(tmp_path)} == {"train"}


def test_parquet_splits_come_from_the_column_or_the_name(make, tmp_path):
    audio = [{"bytes": make.wav(tmp_path / "x.wav").read_bytes(), "path": None}] * 2
    named = pyarrow.table({"audio": audio, "kind": ["music"] * 2})
    pyarrow.parquet.write_table(named, tmp_path / "validation-00000-of-00001.parquet")
    column = named.append_column("split", pyarrow.array(["train", "test"]))
    pyarrow.parquet.write_table(column, tmp_path / "all.parquet")
    (tmp_path / "x.wav").unlink()
    assert [(row[3], row[4]) for row in facts(tmp_path)] == [
        ("music", "train"),
        ("music", "test"),
        ("music", "valid"),
        ("music", "valid"),
    ]


def test_equal_ids_are_told_apart_and_broken_unicode_is_mended(make, tmp_path):
    make.wav(tmp_path / "a.wav")
    (tmp_path / "m.jsonl").write_text('{"audio": "a.wav", "id": "x", "text": "\\ud800 y"}\n' * 2)
    rows = facts(tmp_path / "m.jsonl")
    assert [row[0] for row in rows] == ["x", "x#2"]
    assert rows[0][1] == "? y"


def test_no_source(tmp_path):
    with pytest.raises(ValueError, match="names no audio"):
        listed([tmp_path])
    with pytest.raises(ValueError, match="does not exist"):
        listed([tmp_path / "nothing"])
    with pytest.raises(ValueError, match="at least one"):
        listed([])


def test_loudness_and_buffers(make, tmp_path):
    for n in range(4):
        make.wav(tmp_path / f"{n}.wav", 0.5, n)
    config = TokenizeConfig(loudness_dbfs=-30.0, buffer_seconds=1.0)
    found = list(decode_buffers(listed([tmp_path]), 24_000, config))
    assert [len(buffer) for buffer in found] == [2, 2]
    for clip in found[0]:
        assert isinstance(clip, DecodedClip)
        level = 10 * np.log10(np.mean(np.square(clip.wav, dtype=np.float64)))
        assert level == pytest.approx(-30, abs=0.5)
    loud = TokenizeConfig(loudness_dbfs=0.0)  # never above the peak limit
    (clips,) = decode_buffers(listed([tmp_path]), 24_000, loud)
    assert all(np.abs(clip.wav).max() == pytest.approx(0.99, abs=1e-3) for clip in clips)


def test_a_share_becomes_validation_and_equal_texts_stay_together(corpus):
    entries = listed([corpus])
    assert assign_splits(entries, 0.0) == assign_splits(entries, 0.5) == entries  # they have splits
    rows = [dataclasses.replace(r, split="", text=f"t{n // 2}") for n, r in enumerate(entries * 40)]
    splits = [r.split for r in assign_splits(rows, 0.2)]
    assert splits[::2] == splits[1::2]
    assert set(splits) == {"train", "valid"} and 0.1 < splits.count("valid") / len(splits) < 0.3
    assert {r.split for r in assign_splits(rows, 0.0)} == {""}


def test_hugging_face_dataset_on_disk(make, tmp_path):
    import datasets

    audio = {"bytes": make.wav(tmp_path / "x.wav").read_bytes(), "path": None}
    rows = datasets.Dataset.from_dict({"audio": [audio] * 2, "text": ["one", "two"]})
    datasets.DatasetDict({"test": rows}).save_to_disk(str(tmp_path / "saved"))
    recordings = listed([f"speech=hf:{tmp_path / 'saved'}:test"])
    assert [(r.text, r.split, r.domain) for r in recordings] == [
        ("one", "test", "speech"),
        ("two", "test", "speech"),
    ]
    (clips,) = decode_buffers(recordings, 24_000, TokenizeConfig())
    assert [len(clip.wav) for clip in clips] == [12_000, 12_000]


def test_damaged_parquet_loses_its_rows_and_stops_nothing(make, tmp_path):
    audio = [{"bytes": make.wav(tmp_path / "x.wav").read_bytes(), "path": None}] * 2
    path = tmp_path / "train.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"audio": audio}), path, compression="zstd")
    (tmp_path / "y.wav").write_bytes((tmp_path / "x.wav").read_bytes())
    data = bytearray(path.read_bytes())
    data[8:2000] = bytes(1992)
    path.write_bytes(data)
    (found,) = decode_buffers(listed([tmp_path]), 24_000, TokenizeConfig())
    assert [type(item).__name__ for item in found] == ["RejectedClip"] * 2 + ["DecodedClip"] * 2
    assert {item.skipped.reason for item in found[:2]} == {"corrupt"}


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("train.clean.100", "train"),
        ("train[:90%]", "train"),
        ("full[12500:]", "train"),
        ("dev.other", "valid"),
        ("validation", "valid"),
        ("test-clean", "test"),
        ("9_hours", "9_hours"),
        ("", ""),
        (None, ""),
    ],
)
def test_the_names_of_splits_that_corpora_have_mean_train_valid_or_test(name, kind):
    assert infer_split(name) == kind
