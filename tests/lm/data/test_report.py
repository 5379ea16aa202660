import json

import numpy as np
import pytest

from almtok.__main__ import main
from almtok.lm.data import inspect_tokens


def test_what_deserves_a_look_is_found(make, tmp_path):
    codes = np.arange(30).reshape(3, 10) % 16
    rows = [
        dict(text="w" * 20 + f" {n}", speaker=f"s{n % 4}", frames=20, split="train")
        for n in range(30)
    ]
    rows += [
        dict(text="w" * 300, id="wordy", frames=20),
        dict(text="copy one", id="first", codes=codes, frames=10),
        dict(text="copy two", id="second", codes=codes, split="test", speaker="s1"),
        dict(text="The same, words!", id="leak1", frames=15),
        dict(text="the same words", id="leak2", split="valid", frames=15),
        dict(text="caption", id="c1", domain="sound"),
        dict(text="caption", id="c2", domain="sound", split="test"),
    ]
    report = inspect_tokens(make.shards(tmp_path, rows))
    assert report.rows == 37 and report.fingerprint == "aaaa" and report.num_codebooks == 3
    assert report.outliers[0][0] == "wordy" and len(report.outliers) == 1
    assert report.duplicates == report.audio_leaks == (("first", "second"),)
    assert report.text_leaks == (("leak1", "leak2"),)
    assert report.speaker_overlap == 1
    assert [(s.domain, s.split, s.rows) for s in report.shares][:2] == [
        ("sound", "test", 1),
        ("sound", "train", 1),
    ]
    assert report.frames_per_query == (6,) and 0.9 < min(report.used_codes) <= 1
    text = report.text()
    for words in ("37 rows", "wordy", "first = second", "leak1 = leak2", "kB per hour"):
        assert words in text
    saved = json.loads(report.save(tmp_path).read_text())
    assert saved["rows"] == 37 and saved["text_leaks"] == [["leak1", "leak2"]]


def test_command_describes_a_folder(make, tmp_path, capsys):
    make.shards(tmp_path, [dict(text="one"), dict(text="two")])
    assert main(["lm", "tokenize", "--report", "--out", str(tmp_path)]) == 0
    assert "2 rows" in capsys.readouterr().out


def test_command_says_what_is_missing(make, tmp_path, capsys):
    assert main(["lm", "tokenize", "--out", str(tmp_path)]) == 1
    assert "at least one source (or --report)" in capsys.readouterr().err
    assert main(["lm", "tokenize", "--report", "--out", str(tmp_path)]) == 1
    assert "holds no token shards" in capsys.readouterr().err


def test_codecs_are_told_apart(make, tmp_path):
    make.shards(tmp_path, [{}] * 5, fingerprint="aaaa")
    make.shards(tmp_path, [{}] * 4, fingerprint="bbbb")
    with pytest.raises(ValueError, match="mixes codecs: .* bbbb, .* aaaa"):
        inspect_tokens(tmp_path)


def test_an_hour_takes_less_than_270_kilobytes(make, tmp_path):
    """2048 codes of equal probability, the worst case: 11 of 16 bits, and the labels."""
    rows = [dict(frames=125, text=f"some words, about ten in all, number {n}") for n in range(360)]
    report = inspect_tokens(make.shards(tmp_path, rows, per_shard=512, size=2048))
    assert report.seconds == 3600 and report.bytes_per_hour < 270_000
    assert report.bytes_per_hour > 135_000 * 11 / 8
