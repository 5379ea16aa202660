"""The benchmark of the server measures what it says, and tells why a server did not start."""

import asyncio
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
if not (ROOT / "benchmarks").is_dir():
    pytest.skip("the benchmarks are not beside the tests", allow_module_level=True)
pytest.importorskip("httpx")
pytest.importorskip("fastapi")
sys.path.insert(0, str(ROOT))

from benchmarks import serve_load  # noqa: E402


def test_it_counts_answers_audio_and_failures(serving, monkeypatch):
    monkeypatch.setattr(serve_load, "TEXTS", ("Yes.",))
    with serving(api_key=None) as server:
        level = asyncio.run(serve_load.measure(server.url, "mini", 2, 0.0, 300.0))
        lost = asyncio.run(serve_load.measure(server.url, "nobody", 1, 0.0, 300.0))
    assert level.failures == 0 and len(level.first_sounds) == len(level.wholes) == 2
    assert all(0 < a <= b for a, b in zip(level.first_sounds, level.wholes, strict=True))
    assert 0.4 < level.audio < 20 and level.wall >= max(level.wholes)
    assert lost.failures == 1 and not lost.wholes
    table = serve_load.report([level, lost]).splitlines()
    assert table[2].startswith("| 2 | 2 | 0 |") and table[3].startswith("| 1 | 0 | 1 | - | - |")


def test_a_server_that_does_not_start_is_told():
    with pytest.raises(RuntimeError, match="(?s)did not start: .*no-such-option"):
        with serve_load.server(["--no-such-option"], 300.0):
            pass
