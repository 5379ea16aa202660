"""`almtok encode` and `decode` of many files: bad ones are counted, finished ones are skipped."""

import json
import os
import shutil

import numpy as np
import pytest
import soundfile

from almtok.__main__ import main

from .toy import toy_codec


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("codec")
    toy_codec().save_pretrained(folder)
    return str(folder)


@pytest.fixture
def talks(tmp_path):
    folder = tmp_path / "talks"
    folder.mkdir()
    for number in range(3):
        wav = np.random.default_rng(number).normal(0, 0.1, 4000)
        soundfile.write(folder / f"{number}.wav", wav, 24_000)
    return folder


def test_a_bad_file_stops_no_others(talks, tmp_path, checkpoint, capsys):
    (talks / "1.wav").write_bytes(b"no audio")
    out = tmp_path / "tokens"
    words = [str(talks), "--checkpoint", checkpoint, "--out", str(out)]
    assert main(["encode", *words]) == 1
    said = capsys.readouterr()
    assert f"{talks / '1.wav'}: corrupt" in said.err
    assert "2 token files" in said.out and "1 of 3 inputs failed" in said.out
    assert sorted(path.name for path in out.glob("*.safetensors")) == [
        "0.safetensors", "2.safetensors",
    ]  # fmt: skip
    (out / "1.safetensors").write_bytes(b"no tokens")
    wavs = tmp_path / "wavs"
    assert main(["decode", str(out), "--checkpoint", checkpoint, "--out", str(wavs)]) == 1
    said = capsys.readouterr()
    assert f"{out / '1.safetensors'}" in said.err
    assert "1 of 3 inputs failed" in said.out
    assert sorted(path.name for path in wavs.glob("*.wav")) == ["0.wav", "2.wav"]


def test_a_broken_link_stops_no_others(talks, tmp_path, checkpoint, capsys):
    (talks / "0a.wav").symlink_to("nowhere.wav")
    out = tmp_path / "tokens"
    assert main(["encode", str(talks), "--checkpoint", checkpoint, "--out", str(out)]) == 1
    said = capsys.readouterr()
    assert f"{talks / '0a.wav'}: " in said.err
    assert "3 token files" in said.out and "1 of 4 inputs failed" in said.out
    assert len(list(out.glob("*.safetensors"))) == 3


@pytest.mark.parametrize("command", ["encode", "decode"])
def test_the_same_call_goes_on(talks, tmp_path, checkpoint, command, capsys):
    source, suffix = talks, "safetensors"
    if command == "decode":
        source, suffix = tmp_path / "tokens", "wav"
        main(["encode", str(talks), "--checkpoint", checkpoint, "--out", str(source)])
    out = tmp_path / "out"
    words = [command, str(source), "--checkpoint", checkpoint, "--out", str(out)]

    def written():
        before = {path.name: path.stat().st_mtime_ns for path in out.glob(f"*.{suffix}")}
        for path in out.glob(f"*.{suffix}"):
            os.utime(path, ns=(1, 1))
        assert main(words) == 0
        after = {path.name: path.stat().st_mtime_ns for path in out.glob(f"*.{suffix}")}
        assert before.keys() <= after.keys()
        return sorted(name for name, time in after.items() if time != 1)

    everything = [f"{number}.{suffix}" for number in range(3)]
    assert written() == everything
    capsys.readouterr()
    assert written() == []
    assert f"3 {'token' if command == 'encode' else 'audio'} files in {out}; 3 of them existed" \
        in capsys.readouterr().out  # fmt: skip
    (out / everything[1]).unlink()
    assert written() == [everything[1]]
    first = next(path for path in sorted(source.iterdir()) if path.suffix != ".jsonl")
    second = sorted(source.glob(f"*{first.suffix}"))[1]
    shutil.copy(second, first)
    assert written() == [everything[0]]  # another file of the same name
    words.append("--overwrite")
    assert written() == everything
    words.pop()
    assert written() == []
    if command == "encode":
        words += ["--frames-per-query", "3"]
        assert written() == everything


def test_long_names_are_cut(talks, tmp_path, checkpoint):
    long = "ä" * 125
    (talks / "0.wav").rename(talks / f"{long}.wav")
    out = tmp_path / "tokens"
    assert main(["encode", str(talks), "--checkpoint", checkpoint, "--out", str(out)]) == 0
    names = [json.loads(line)["id"] for line in (out / "journal.jsonl").read_text().splitlines()]
    assert len(names) == len(list(out.glob("*.safetensors"))) == 3


def test_the_reader_says_what_it_took_each_column_for(talks, tmp_path, capsys):
    rows = "path,sentence,age\n" + "".join(f"{number}.wav,word,30\n" for number in range(3))
    (talks / "manifest.csv").write_text(rows)
    out = tmp_path / "out"
    words = ["lm", "prepare", f"speech={talks}", "--out", str(out), "--no-progress"]
    words += ["--min-seconds", "0.1"]
    assert main(words) == 0
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "clips" in line]
    told = "3 clips; manifest (manifest.csv); audio=path, text=sentence; ignored columns: age"
    assert line == f"speech={talks}: {told}"


def test_linked_folders_are_read_and_hidden_files_are_not(talks, tmp_path, checkpoint, capsys):
    folder = tmp_path / "in"
    folder.mkdir()
    os.symlink(talks, folder / "linked")
    os.symlink(folder, talks / "loop")
    (talks / "._0.wav").write_bytes(b"a companion file of macOS")
    words = [str(folder), "--checkpoint", checkpoint, "--out", str(tmp_path / "tokens")]
    assert main(["encode", *words]) == 0
    assert "3 token files" in capsys.readouterr().out
