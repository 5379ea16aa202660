"""The study of patterns: real commands on one clip, and what is done is not done again."""

import json
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
    assert almtok(["tokenize", source, "--out", tokens, "--loudness", "-20"]) == 0
    monkeypatch.setattr(patterns, "PATTERNS", ("parallel",))
    codec, out = str(shipped() / "codec"), str(tmp_path)
    given = ["--tokens", tokens, "--held-out", tokens, "--test", source, "--codec", codec]
    given += ["--out", out, "--steps", "1", "--limit", "1"]
    patterns.main(given)
    row = (tmp_path / "patterns/table.md").read_text().splitlines()[-1]
    assert row.startswith("| parallel | ") and row.count("|") == len(patterns.HEAD) + 1

    def never(*_):
        raise AssertionError("what is done is not done again")

    monkeypatch.setattr(patterns.os, "spawnv", never)
    patterns.main(given)
    assert (tmp_path / "patterns/table.md").read_text().splitlines()[-1] == row


def test_a_command_that_fails_is_named(tmp_path):
    with pytest.raises(ValueError, match="almtok train lm ended with 1"):
        patterns._almtok(tmp_path / "facts.json", "train", "lm", "--data", str(tmp_path))
    assert not (tmp_path / "facts.json").exists()
