"""Benchmarks that run commands: of processors, with an almtok that costs nothing."""

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
if not (ROOT / "benchmarks").is_dir():
    pytest.skip("the benchmarks are not beside the tests", allow_module_level=True)
sys.path.insert(0, str(ROOT))

from benchmarks.processors import __main__ as processors  # noqa: E402

ALMTOK = """
import os, sys
print(sys.argv, os.environ.get("ATEN_CPU_CAPABILITY"), file=open(os.environ["LOG"], "a"))
if sys.argv[1] == "run":
    print("stage    size   steps  s per step")
    print(sys.argv[sys.argv.index("--from") + 1], "  1.2 M    130    0.25  ...")
sys.exit(3 if sys.argv[1] == "encode" and os.environ.get("BROKEN") else 0)
"""


@pytest.fixture
def before(tmp_path, monkeypatch):
    (tmp_path / "older").mkdir()
    (tmp_path / "older" / "__init__.py").write_text("")
    (tmp_path / "older" / "__main__.py").write_text(ALMTOK)
    monkeypatch.setenv("LOG", str(tmp_path / "log"))
    monkeypatch.delenv("ATEN_CPU_CAPABILITY", raising=False)  # "as it is" is the environment's
    monkeypatch.setattr(processors, "ROOT", tmp_path / "older")
    return tmp_path / "older"


def test_processors_measures_stages_and_commands_of_both_checkouts(before, tmp_path, monkeypatch):
    words = ["--before", str(before), "--trainings", "lm", "--repeats", "1"]
    monkeypatch.setattr(sys, "argv", ["x", *words, "--out", str(tmp_path / "table.md")])
    processors.main()
    table = (tmp_path / "table.md").read_text().splitlines()
    names = "as it is, before | as it is, now | as AVX2, before | as AVX2, now"
    assert table[0] == f"| seconds | {names} |"
    rows = [line.split(" | ") for line in table[2:]]
    assert [row[0] for row in rows] == ["| lm", "| tts", "| asr", "| encode"]
    assert rows[0][1:] == ["32", "32", "32", "32 |"]  # 130 steps of 0.25 s
    assert all("of a core)" in cell for row in rows[1:] for cell in row[1:])
    log = (tmp_path / "log").read_text().splitlines()
    assert len(log) == 4 * (1 + 2 * 3)  # each command once more, as a warm-up
    assert sum(line.endswith("avx2") for line in log) == len(log) / 2


def test_a_command_that_fails_ends_the_benchmark(before, monkeypatch):
    monkeypatch.setenv("BROKEN", "1")
    monkeypatch.setattr(sys, "argv", ["x", "--trainings", "lm", "--repeats", "1"])
    with pytest.raises(RuntimeError, match="now, as it is: almtok encode"):
        processors.main()
