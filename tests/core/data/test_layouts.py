"""Layouts that are recognized by their files: each read from real files, and what is refused.

The files of lhotse in `fixtures/lhotse` were written by lhotse 1.33 (`CutSet.from_manifests`).
"""

import gzip
import io
import json
import logging
import shutil
import tarfile
import textwrap
from pathlib import Path

import numpy as np
import pytest
import soundfile

from almtok.core.audio import AudioError
from almtok.core.data import EntryReader, list_entries

from .conftest import encoded, noise

LHOTSE = Path(__file__).parent / "fixtures" / "lhotse"


def listed(source):
    return list_entries([source], transcripts=True)


def facts(source, *names):
    return [tuple(getattr(entry, name) for name in names) for entry in listed(source)]


def refused(source, *words):
    with pytest.raises(ValueError) as caught:
        listed(source)
    text = str(caught.value)
    assert "\n" not in text and all(word in text for word in words), text


def test_the_guides_layout_is_read_from_its_file(tmp_path):
    page = Path(__file__).parents[3].joinpath("docs", "extending.md").read_text(encoding="utf-8")
    indented = page.split("   ```py\n")[1].split("   ```")[0]
    names = {"__name__": "almtok.core.data.transcripts", "__package__": "almtok.core.data"}
    exec(compile(textwrap.dedent(indented), "extending.md", "exec"), names)
    assert names["transcripts_file"](tmp_path) == ()
    soundfile.write(tmp_path / "a.wav", noise(1.0, 0, rate=16_000), 16_000)
    (tmp_path / "transcripts.json").write_text('{"a.wav": "Good morning."}')
    (file,) = names["transcripts_file"](tmp_path)
    (entry,) = names["transcripts_entries"](file, None, "validation", None)
    assert (entry.id, entry.text, entry.domain) == ("a.wav", "Good morning.", "speech")
    assert entry.split == "valid" and len(EntryReader().read(entry, 16_000)) == 16_000


@pytest.fixture
def lhotse(tmp_path):
    """A folder of audio and one of manifests, whose paths count from the folder above both."""

    def copy(*names, packed=False):
        (tmp_path / "audio").mkdir(exist_ok=True)
        (tmp_path / "manifests").mkdir(exist_ok=True)
        for number in range(3):
            soundfile.write(
                tmp_path / "audio" / f"r{number}.wav", noise(3.0, number, rate=16_000), 16_000
            )
        for name in names:
            if packed:
                data = gzip.compress((LHOTSE / name).read_bytes())
                (tmp_path / "manifests" / f"{name}.gz").write_bytes(data)
            else:
                shutil.copy(LHOTSE / name, tmp_path / "manifests" / name)
        return tmp_path / "manifests"

    return copy


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    "names", [("cuts_train.jsonl",), ("x_recordings_train.jsonl", "x_supervisions_train.jsonl")]
)
def test_lhotse(lhotse, names, packed, caplog):
    folder = lhotse(*names, packed=packed)
    (file, *_) = sorted(folder.iterdir())
    with caplog.at_level(logging.INFO):
        entries = listed(folder)
    assert f"6 clips; lhotse ({file.name})" in caplog.text
    assert [(e.id, e.text, e.speaker, e.split, e.start, e.seconds) for e in entries[:2]] == [
        ("s0-0", "text 0 0", "spk0", "train", 0.0, 0.9),
        ("s0-1", "text 0 1", "spk0", "train", 1.0, 0.9),
    ]
    assert {entry.domain for entry in entries} == {"speech"}
    assert len(EntryReader().read(entries[1], 16_000)) == 14_400
    assert [entry.id for entry in listed(file)] == [entry.id for entry in entries]


def test_a_cut_without_supervisions_is_one_clip(lhotse):
    folder = lhotse("x_recordings_train.jsonl")
    assert facts(folder, "id", "text", "start", "seconds") == [
        (f"r{number}", "", 0.0, None) for number in range(3)
    ]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("cuts_mixed.jsonl", ("line 1", "got a MixedCut")),
        ("cuts_perturbed.jsonl", ("line 1", "before augmentation")),
        ("x_supervisions_train.jsonl", ("has no audio", "file of recordings")),
    ],
)
def test_tables_of_lhotse_that_are_no_recordings_are_refused(lhotse, name, words):
    refused(lhotse(name) / name, name, *words)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"recording": None}, "has no recording, only features"),
        ({"start": "x"}, "start must be a number of seconds"),
        ({"recording": {"sources": [{"type": "command", "source": "x"}]}}, "one file, got command"),
        ({"recording": {"sources": [{"type": "file", "channels": [0, 1]}]}}, "channel 0 of 2"),
    ],
)
def test_bad_cuts_name_file_and_line(lhotse, change, words):
    folder = lhotse("cuts_train.jsonl")
    table = folder / "cuts_train.jsonl"
    first, second, _ = table.read_text().splitlines()
    bad = {**json.loads(second), **change}
    table.write_text(f"{first}\n{json.dumps(bad)}\n")
    refused(folder, "cuts_train.jsonl line 2", words)
    table.write_text(f"{first}\n{second[:40]}\n")
    refused(folder, "cuts_train.jsonl line 2")


def test_several_tables_of_lhotse_name_their_splits(lhotse):
    folder = lhotse("cuts_train.jsonl")
    shutil.copy(folder / "cuts_train.jsonl", folder / "cuts_dev.jsonl")
    assert {split for (split,) in facts(folder, "split")} == {"train", "valid"}
    assert {split for (split,) in facts(f"{folder}:dev", "split")} == {"dev"}
    shutil.copy(folder / "cuts_train.jsonl", folder / "cuts.jsonl")
    refused(folder, "cuts.jsonl names no split", "pass one of them")


def shard(path, samples):
    """A tar file of samples: bytes by the suffix of their member."""
    with tarfile.open(path, "w") as tar:
        for key, members in samples.items():
            for suffix, data in members.items():
                member = tarfile.TarInfo(f"{key}.{suffix}")
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
    return path


def sample(number, **members):
    return {"flac": encoded(noise(0.3 + 0.1 * number, number)), **members}


def test_webdataset(tmp_path, caplog):
    samples = {
        "deep/a": sample(0, txt=b"one\ntwo", cls=b"3"),
        "deep/b": sample(1, json=json.dumps({"Caption": "three", "speaker": 7}).encode()),
        "c" * 120: sample(2),  # a name with a header of its own
    }
    shard(tmp_path / "train-000000.tar", samples)
    shard(tmp_path / "train-000001.tar", {"d": sample(3, txt=b"four"), "e": {"txt": b"alone"}})
    with caplog.at_level(logging.INFO):
        entries = listed(f"speech={tmp_path}")
    assert "4 clips; 2 x WebDataset" in caplog.text
    assert ".cls" in caplog.text and "samples without audio" in caplog.text
    assert [(e.id, e.text, e.speaker, e.split) for e in entries] == [
        ("deep/a", "one two", "", "train"), ("deep/b", "three", "7", "train"),
        ("c" * 120, "", "", "train"), ("d", "four", "", "train"),
    ]  # fmt: skip
    reader = EntryReader()
    for number, entry in enumerate(entries):
        assert np.allclose(reader.read(entry, None), noise(0.3 + 0.1 * number, number), atol=1e-3)
    assert len(list_entries([tmp_path])) == 4  # for a codec, too
    (tmp_path / "train-000001.tar").unlink()
    with pytest.raises(AudioError, match="missing"):
        reader.read(entries[3], None)


def test_bad_shards_name_file_and_member(tmp_path):
    tar = shard(tmp_path / "a.tar", {"x": sample(0, json=b"{")})
    refused(tar, "a.tar member x.json")
    shard(tar, {"x": sample(0, wav=b"")})
    refused(tar, "a.tar member x.wav", "two audio files")
    tar.write_bytes(gzip.compress(tar.read_bytes()))
    refused(tmp_path, "a.tar is compressed", "gunzip")
    tar.write_bytes(b"no archive" * 100)
    refused(tmp_path, "a.tar")


def test_an_archive_beside_its_content_is_not_read(make, tmp_path, caplog):
    make.folder(tmp_path / "corpus", [0.3])
    shard(tmp_path / "corpus.tar", {"x": sample(0)})
    with caplog.at_level(logging.INFO):
        assert facts(tmp_path, "id") == [("corpus/00.flac",)]
    assert "files not read: .tar beside other audio" in caplog.text


def nemo(folder, *names):
    for number, name in enumerate(names):
        row = {"audio_filepath": f"{number:02d}.flac", "duration": 0.3, "text": f"text {number}"}
        (folder / name).write_text(json.dumps(row) + "\n")


def test_nemo(make, tmp_path, caplog):
    make.folder(tmp_path, [0.3] * 3)
    nemo(tmp_path, "train_manifest.json", "dev_manifest.json")
    with caplog.at_level(logging.INFO):
        assert sorted(facts(f"speech={tmp_path}", "text", "split")) == [
            ("text 0", "train"),
            ("text 1", "valid"),
        ]
    assert "NeMo (dev_manifest.json, train_manifest.json)" in caplog.text
    nemo(tmp_path, "all_manifest.json")
    refused(tmp_path, "all_manifest.json names no split", "pass one of them")
    (tmp_path / "all_manifest.json").write_text('{"audio_filepath": \n')
    refused(tmp_path / "all_manifest.json", "all_manifest.json line 1")


@pytest.mark.parametrize("parts", [("train", "test"), ()])
def test_save_to_disk(make, tmp_path, parts, caplog):
    import datasets

    audio = {"bytes": encoded(noise(0.3)), "path": None}
    rows = datasets.Dataset.from_dict({"audio": [audio] * 2, "text": ["one", "two"]})
    rows = rows.cast_column("audio", datasets.Audio(decode=False))
    saved = datasets.DatasetDict({part: rows for part in parts}) if parts else rows
    saved.save_to_disk(str(tmp_path / "saved"))
    with caplog.at_level(logging.INFO):
        entries = listed(f"speech={tmp_path / 'saved'}")
    assert "saved dataset (" in caplog.text
    assert [entry.text for entry in entries] == ["one", "two"] * max(1, len(parts))
    assert {entry.split for entry in entries} == ({*parts} or {""})
    assert len(EntryReader().read(entries[-1], None)) == len(noise(0.3))


def test_librispeech_names_speakers(make, tmp_path):
    for speaker in ("19", "26"):
        chapter = tmp_path / "train-clean-5" / speaker / "198"
        make.folder(chapter, [0.3])
        (chapter / "00.flac").rename(chapter / f"{speaker}-198-0000.flac")
        (chapter / f"{speaker}-198.trans.txt").write_text(f"{speaker}-198-0000 SPOKEN {speaker}\n")
    make.folder(tmp_path / "other", [0.3])
    (tmp_path / "other" / "00.flac").rename(tmp_path / "other" / "19-198-0000.flac")
    assert facts(tmp_path, "text", "speaker") == [
        ("", ""), ("SPOKEN 19", "19"), ("SPOKEN 26", "26"),
    ]  # fmt: skip


def test_folders_of_two_layouts_are_refused_and_their_files_are_not(make, tmp_path):
    make.folder(tmp_path, [0.3])
    (tmp_path / "wav.scp").write_text("u1 00.flac\n")
    (tmp_path / "text").write_text("u1 of kaldi\n")
    (tmp_path / "metadata.csv").write_text("00|of ljspeech\n")
    refused(tmp_path, "Kaldi (wav.scp) and LJSpeech (metadata.csv)", "pass one of the files")
    assert facts(tmp_path / "wav.scp", "text") == [("of kaldi",)]
    assert facts(tmp_path / "metadata.csv", "text") == [("of ljspeech",)]
    (tmp_path / "manifest.jsonl").write_text('{"audio": "00.flac", "text": "of mine"}\n')
    assert facts(tmp_path, "text") == [("of mine",)]  # it was written for this purpose


def test_missing_files_are_counted(make, tmp_path, caplog):
    make.folder(tmp_path, [0.3])
    (tmp_path / "wav.scp").write_text("u1 00.flac\nu2 01.flac\nu3 02.flac\n")
    with caplog.at_level(logging.INFO):
        listed(tmp_path)
    assert "3 clips; Kaldi (wav.scp); 2 audio files missing" in caplog.text


@pytest.mark.parametrize(
    ("name", "line", "words"),
    [
        ("wav.scp", "u2", "u2 must be a file, got nothing"),
        ("wav.scp", "u2 sox a.sph -t wav - |", "commands are not run"),
        ("segments", "u2 u1 1", "expected 'utterance recording start end'"),
        ("segments", "u2 u1 2 1", "got 2.0 to 1.0 s"),
        ("segments", "u2 u9 1 2", "u9, not in wav.scp"),
    ],
)
def test_bad_lines_of_kaldi_name_file_and_line(make, tmp_path, name, line, words):
    make.folder(tmp_path, [0.3])
    first = {"wav.scp": "u1 00.flac", "segments": "u1 u1 0 0.2"}
    for file, text in first.items():
        (tmp_path / file).write_text(f"{text}\n")
    (tmp_path / name).write_text(f"{first[name]}\n{line}\n")
    refused(tmp_path, f"{name} line 2", words)
