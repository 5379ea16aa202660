"""The study of patterns: its commands on one clip, and what is done is not done again."""

import json
import resource
import shutil
from pathlib import Path

import pytest

from almtok.__main__ import main as almtok
from almtok.codec.checkpoints import shipped
from almtok.recipes.multitask import patterns

CLIP = Path(__file__).parents[2] / "codec/fixtures/kathleen_a0119.flac"


@pytest.mark.slow
def test_one_pattern_from_a_clip_to_a_row(tmp_path, monkeypatch, capsys):
    shutil.copy(CLIP, tmp_path / "a.flac")
    row = {"id": "a", "audio": "a.flac", "text": "one two three", "domain": "speech"}
    lines = [
        json.dumps({**row, "id": str(n), "split": s}) for n, s in enumerate(["train", "valid"])
    ]
    (tmp_path / "clips.jsonl").write_text("\n".join(lines) + "\n")
    source, tokens = f"speech={tmp_path / 'clips.jsonl'}", str(tmp_path / "tokens")
    assert almtok(["lm", "tokenize", source, "--out", tokens, "--loudness", "-20"]) == 0
    monkeypatch.setattr(patterns, "PATTERNS", ("parallel",))
    ended = []
    # In this process: what a real one costs is the next test.
    monkeypatch.setattr(patterns.os, "spawnv", lambda _, __, words: ended.append(almtok(words[3:])))
    usage = resource.getrusage(resource.RUSAGE_SELF)
    monkeypatch.setattr(patterns.os, "wait4", lambda *_: (0, ended.pop(), usage))
    codec, out = str(shipped() / "codec"), str(tmp_path)
    given = ["--tokens", tokens, "--held-out", tokens, "--test", source, "--codec", codec]
    given += ["--out", out, "--steps", "1", "--limit", "1"]
    patterns.main(given)
    row = (tmp_path / "patterns/table.md").read_text().splitlines()[-1]
    assert row.startswith("| parallel | ") and row.count("|") == len(patterns.HEAD) + 1

    monkeypatch.setattr(patterns.os, "spawnv", never)
    patterns.main(given)
    assert (tmp_path / "patterns/table.md").read_text().splitlines()[-1] == row


def never(*_):
    raise AssertionError("what is done is not done again")


def test_what_a_command_costs_is_measured_once(tmp_path, monkeypatch):
    said = patterns._almtok(tmp_path / "facts.json", "--version")
    assert said["seconds"] > 0 and said["mb_peak"] > 1
    monkeypatch.setattr(patterns.os, "spawnv", never)
    assert patterns._almtok(tmp_path / "facts.json", "--version") == said


def test_a_command_that_fails_is_named(tmp_path):
    with pytest.raises(ValueError, match="almtok decode nothing.safetensors ended with 1"):
        command = ("decode", "nothing.safetensors", "--out", str(tmp_path))
        patterns._almtok(tmp_path / "facts.json", *command)
    assert not (tmp_path / "facts.json").exists()
