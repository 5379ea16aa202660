"""The benchmark: which cells, one real cell, targets and report from made-up rows."""

import dataclasses
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
if not (ROOT / "benchmarks").is_dir():
    pytest.skip("the benchmarks are not beside the tests", allow_module_level=True)
sys.path.insert(0, str(ROOT))

from benchmarks import harness  # noqa: E402
from benchmarks.codec import __main__ as plan  # noqa: E402
from benchmarks.codec import cell, report, systems  # noqa: E402

from ...pace import patience  # noqa: E402

CONFIG = plan.BenchmarkConfig(systems=["mini", "base", "encodec", "mimi"], rounds=2)


def fake(rtf):
    """A runner whose answers depend on the system alone."""

    def run(question):
        answers = {
            "codec": {"rtf": rtf[question["system"]] if question["system"] else 0.0,
                      "seconds_wall": 1.0, "others": 0.01, "mb_peak": 700, "cpu": 0.01},
            "facts": {"parameters": 10**7, "flops_encode": 2e9, "flops_decode": 2e9},
            "parts": {"parts": {"encoder": 0.001, "decoder": 0.002},
                      "flops": {"encoder": 2e8, "decoder": 4e8}, "rest": 0.0001},
            "peak": {"gflops": {"convolution fp32": 450.0}},
            "stream": {"ms_audio": 80.0, "ms_median": 9.0, "ms_95": 12.0, "mb_peak": 500},
            "train": {"seconds_wall": 1.0, "rtf": 0.25, "others": 0.0, "mb_peak": 900},
        }  # fmt: skip
        return {**question, **answers[question["kind"]]}

    return run


FAST = {"mini": 0.005, "base": 0.010, "encodec": 0.025, "mimi": 0.050}


def test_all_systems_take_turns_and_what_cannot_fit_is_left_out():
    asked = []

    def run(question):
        asked.append(question)
        return fake(FAST)(question)

    rows = plan.BENCHMARK.run(dataclasses.replace(CONFIG, memory_gib=22.0), run=run, progress=False)
    first = [q["system"] for q in asked if q["kind"] == "codec"][:8]
    assert first == [*CONFIG.systems, *CONFIG.systems]
    hour = {r["system"]: r for r in rows if r["kind"] == "codec" and r["seconds"] == 3600}
    assert "does not fit" in hour["encodec"]["error"] and "does not fit" in hour["mimi"]["error"]
    assert "error" not in hour["mini"]
    assert not [q for q in asked if q.get("seconds") == 3600 and q["system"] == "mimi"]
    assert sum(row["kind"] == "peak" for row in rows) == 2


def test_the_command_line_makes_the_configuration(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(
        harness.Benchmark, "run", lambda self, config, **_: asked.append(config) or []
    )
    words = "--systems mini encodec --seconds 10 300 --batches 1 --rounds 1 --no-train --threads 2"
    monkeypatch.setattr(sys, "argv", ["benchmark", *words.split(), "--out", str(tmp_path)])
    assert plan.main() == 0  # nothing was measured, so no target is missed
    assert asked == [
        plan.BenchmarkConfig(
            systems=["mini", "encodec"], seconds=[10.0, 300.0], batches=[1], rounds=1,
            train=False, threads=2,
        )
    ]  # fmt: skip
    monkeypatch.setattr(sys, "argv", [*sys.argv, "--quick"])
    assert plan.main() == 0 and asked[1] == dataclasses.replace(plan.QUICK, threads=2)


def test_targets_pass_and_fail():
    rows = plan.BENCHMARK.run(dataclasses.replace(CONFIG, memory_gib=22.0), run=fake(FAST),
                                progress=False)  # fmt: skip
    checks = {check.text: check for check in report.check_targets(rows)}
    assert all(check.passed for check in checks.values()), [
        c for c in checks.values() if not c.passed
    ]
    slow = plan.BENCHMARK.run(
        dataclasses.replace(CONFIG, memory_gib=22.0), run=fake({**FAST, "mini": 0.02}),
        progress=False,
    )  # fmt: skip
    failed = [c.text for c in report.check_targets(slow) if c.passed is False]
    assert "mini at least 2x faster than encodec, encode, 10 s" in failed
    assert "base faster than mimi everywhere" not in failed
    # Beside other work wall-clock is no evidence: processor seconds decide, no peak is claimed.
    for row in slow:
        row["others"] = 0.9
    busy = {check.text: check for check in report.check_targets(slow)}
    assert "busy" in busy["mini at least 2x faster than encodec, encode, 10 s"].measured
    assert busy["mini, encode, 10 s: 40 % of the machine's peak"].passed is None
    nothing = report.check_targets([])
    assert nothing and all(check.passed is None for check in nothing)


def test_report_shows_failures_and_targets():
    def run(question):
        if question["kind"] == "codec" and question["system"] == "mimi":
            return {**question, "error": "longer than 5 s"}
        return fake(FAST)(question)

    rows = plan.BENCHMARK.run(dataclasses.replace(CONFIG, memory_gib=22.0), run=run,
                                progress=False)  # fmt: skip
    text = report.to_markdown(rows, {"processor": "test"})
    for words in ("## Targets", "mimi, encode, 10 s: longer than 5 s", "| mini, round trip |",
                  "bf16 + compile", "## One training step", "does not fit"):  # fmt: skip
        assert words in text
    assert "mini at least 3.5x faster than mimi, encode, 10 s | not measured | ?" in text


def test_one_real_cell_of_each_kind():
    common = {"system": "tiny", "budget": 0.01, "runs": 1, "threads": 1, "dtype": "float32"}
    for side in plan.SIDES:
        row = cell.run(common | {"kind": "codec", "side": side, "seconds": 0.2, "batch": 2,
                                 "compile": False})  # fmt: skip
        assert row["rtf"] > 0 and row["mb_peak"] > 50 and row["side"] == side
    half = common | {"kind": "codec", "side": "both", "seconds": 0.2, "batch": 1, "compile": False}
    assert cell.run(half | {"dtype": "bfloat16"})["rtf"] > 0
    assert cell.run(common | {"kind": "train", "seconds": 0.48, "batch": 2})["with_gradient"] > 10
    parts = cell.run(common | {"kind": "parts", "seconds": 0.5})
    assert set(parts["parts"]) == set(parts["flops"]) and all(parts["parts"].values())
    facts = cell.run(common | {"kind": "facts"})
    assert facts["flops_encode"] > 1e6 and facts["parameters"] > 1e4


def test_published_sizes():
    # The parameter counts of the published checkpoints, to the first decimal.
    import torch
    from transformers import AutoConfig, AutoModel

    for name, millions in (("encodec", 14.9), ("mimi", 79.3), ("dac", 74.7)):
        peer = systems.PEERS[name]
        with torch.device("meta"):
            model = AutoModel.from_config(AutoConfig.for_model(peer.model_type, **peer.config))
        count = sum(p.numel() for p in model.parameters()) / 1e6
        assert count == pytest.approx(millions, abs=0.05), name
    with pytest.raises(ValueError, match="codec must be one of"):
        systems.build("lyra")


def test_a_cell_that_dies_is_an_error_of_that_cell():
    question = {"kind": "codec", "system": "nonsense", "side": "encode", "dtype": "float32",
                "compile": False, "seconds": 1.0, "batch": 1}  # fmt: skip
    row = harness.run_cell(
        question, module="benchmarks.codec.cell", memory_gib=8.0, timeout=patience(120)
    )
    assert "codec must be one of" in row["error"]
