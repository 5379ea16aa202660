"""The benchmark of generation: which cells, real cells, targets and report from made-up rows."""

import dataclasses
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
if not (ROOT / "benchmarks").is_dir():
    pytest.skip("the benchmarks are not beside the tests", allow_module_level=True)
sys.path.insert(0, str(ROOT))

from benchmarks import harness  # noqa: E402
from benchmarks.lm import __main__ as plan  # noqa: E402
from benchmarks.lm import cell, report, systems  # noqa: E402

CONFIG = plan.BenchmarkConfig(memory_gib=22.0)
# Seconds of a step, batch 1; of a batch of 8 a step takes half as long again.
STEP = {"depth": 0.020, "delay": 0.018, "parallel": 0.018, "flat": 0.018, "delay50": 0.018,
        "musicgen": 0.053, "csm": 0.583}  # fmt: skip


def fake(slower=1.0):
    """A runner whose answers depend on the system and the option."""

    def run(question):
        if question["kind"] == "lm":
            many, batch = 1.5 if question["batch"] > 1 else 1.0, question["batch"]
            seconds = slower * many * STEP[question["system"]]
            seconds *= {"plain": 3.0, "int8": 0.7}.get(question["option"], 1.0)
            rtf = systems.SYSTEMS[question["system"]].steps_per_second * seconds / batch
            answer = {"seconds_wall": seconds, "rtf": rtf, "rtf_heads": 0.1 * rtf,
                      "rtf_fastest": rtf, "cpu": rtf, "ms_step": 1000 * seconds, "others": 0.01,
                      "prefill_rows": 650.0, "parameters": 494e6, "main_bytes": 716e6,
                      "heads_bytes": 60e6, "mb_peak": 2500,
                      "codec_dtype": {"int8": "float32", "int4": "bfloat16"}.get(
                          question["dtype"], question["dtype"])}  # fmt: skip
        else:
            answer = {
                "codec": {"seconds_wall": 0.3, "rtf": 0.03, "others": 0.0, "mb_peak": 900},
                "kernels": {"kernels": {"bfloat16": {"ms": 0.2, "gb_per_second": 50.0}}},
                "peak": {"read_gb_per_second": 85.0, "others": 0.0},
            }[question["kind"]]
        return {**question, **answer}

    return run


def measure(**kwargs):
    return plan.BENCHMARK.run(CONFIG, progress=False, **kwargs)


def test_all_systems_take_turns_and_rows_are_kept_after_every_cell():
    asked, saved = [], []

    def run(question):
        asked.append(question)
        return fake()(question)

    rows = measure(run=run, save=lambda some: saved.append(len(some)))
    models = [question for question in asked if question["kind"] == "lm"]
    assert [q["system"] for q in models[:7]] == list(systems.SYSTEMS)
    assert {q["dtype"] for q in models[:7]} == {"bfloat16"}
    assert {q["option"] for q in models} == set(systems.OPTIONS)
    assert saved == list(range(1, len(rows) + 1))
    assert asked[0]["kind"] == asked[-1]["kind"] == "peak"


def test_what_does_not_fit_or_comes_too_late_is_left_out():
    small = plan.BENCHMARK.run(plan.BenchmarkConfig(memory_gib=6.0), run=fake(), progress=False)
    errors = {(r["system"], r["dtype"]): r["error"] for r in small if "error" in r}
    assert "does not fit" in errors["csm", "float32"]
    late = plan.BENCHMARK.run(
        plan.BenchmarkConfig(memory_gib=22.0, minutes=0.0), run=fake(), progress=False
    )
    assert all("minutes were up" in r["error"] or "fit" in r["error"] for r in late)
    assert "minutes were up" in report.to_markdown(late, {})


def test_targets_pass_and_fail():
    assert all(check.passed for check in report.check_targets(measure(run=fake())))
    slow = measure(run=fake(4.0))
    failed = [check.text for check in report.check_targets(slow) if check.passed is False]
    assert "depth, bf16, batch 1: all, at most 0.80" in failed
    assert not [text for text in failed if "faster per second" in text or "4.5x" in text]
    # Beside other work a missed time is no evidence.
    for row in slow:
        row["others"] = 0.9
    busy = report.check_targets(slow)
    assert not [check for check in busy if check.passed is False]
    assert any("machine busy" in check.measured for check in busy)
    nothing = report.check_targets([])
    assert nothing and all(check.passed is None for check in nothing)


def test_report_shows_shares_options_and_failures():
    def run(question):
        if question["system"] == "csm":
            return {**question, "error": "longer than 5 s"}
        return fake()(question)

    text = report.to_markdown(measure(run=run), {"processor": "test"})
    for words in ("## Targets", "| int8, x 1 | 14.00 |", "1.43x", "longer than 5 s",
                  "| 12.5 Hz x 3, depth Transformer, bf16 x 1 | 0.225 (80 %) | 0.025 (9 %) |",
                  "MusicGen-small", "## One linear map"):  # fmt: skip
        assert words in text, words


def test_one_real_cell_of_each_kind():
    common = {"budget": 0.01, "runs": 1, "threads": 1, "size": "toy"}
    model = common | {"kind": "lm", "dtype": "bfloat16", "batch": 2, "prompt": 12, "frames": 8,
                      "option": "packed"}  # fmt: skip
    rows = {name: cell.run(model | {"system": name}) for name in ("depth", "flat", "delay50")}
    for row in rows.values():
        assert row["rtf"] > row["rtf_heads"] > 0 and row["prefill_rows"] > 0
        assert row["main_bytes"] == rows["flat"]["main_bytes"]
    # One row of the flattened layout takes one head: 64 x 17 numbers of two bytes.
    assert rows["flat"]["heads_bytes"] == 2 * 64 * 17
    half = cell.run(model | {"system": "depth", "option": "int8", "dtype": "int8"})
    assert (rows["depth"]["codec_dtype"], half["codec_dtype"]) == ("bfloat16", "float32")
    assert half["main_bytes"] < 0.6 * rows["depth"]["main_bytes"]
    for option in ("plain", "dynamic cache"):
        assert cell.run(model | {"system": "depth", "option": option})["rtf"] > 0
    kernels = cell.run(common | {"kind": "kernels", "batch": 1})["kernels"]
    assert set(kernels) >= {"float32", "bfloat16", "int8", "int4"}
    codec = common | {"kind": "codec", "system": "tiny", "batch": 1, "seconds": 0.5}
    for dtype in plan.DTYPES:
        assert cell.run(codec | {"dtype": dtype})["rtf"] > 0


def test_the_quick_benchmark_writes_its_report(tmp_path, monkeypatch):
    # In this process: a cell of its own costs an import of torch each.
    monkeypatch.setattr(harness, "run_cell", lambda question, **_: cell.run(question))
    monkeypatch.setattr(cell, "_READ", 1 << 16)
    monkeypatch.setattr(
        sys, "argv", ["benchmark", "--quick", "--threads", "1", "--out", str(tmp_path)]
    )
    assert plan.main() == 0  # toys promise nothing
    assert "12.5 Hz x 3, flattened, fp32 x 1" in (tmp_path / "table.md").read_text()
    assert (tmp_path / "rows.json").is_file()


def test_published_sizes():
    import torch
    from transformers import (
        CsmConfig,
        CsmForConditionalGeneration,
        MusicgenDecoderConfig,
        MusicgenForCausalLM,
        Qwen2Config,
        Qwen2ForCausalLM,
    )

    shape = {k: v for k, v in systems.BACKBONES["qwen2-0.5b"].items() if k != "model_type"}
    with torch.device("meta"):
        models = {
            494: Qwen2ForCausalLM(Qwen2Config(**shape)),
            420: MusicgenForCausalLM(MusicgenDecoderConfig(**systems.SYSTEMS["musicgen"].config)),
            1632: CsmForConditionalGeneration(CsmConfig()),
        }
    for millions, model in models.items():
        count = sum(p.numel() for p in model.parameters()) / 1e6
        assert count == pytest.approx(millions, abs=1), type(model).__name__


def test_peers_run_too(monkeypatch):
    small = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    thin = small | {"intermediate_size": 32, "num_key_value_heads": 1, "head_dim": 16}
    depth = thin | {"num_codebooks": 4, "backbone_hidden_size": 32}
    shapes = {
        "musicgen": small | {"vocab_size": 2048, "ffn_dim": 32, "num_codebooks": 4},
        "csm": thin | {"num_codebooks": 4, "depth_decoder_config": depth},
    }
    for name, shape in shapes.items():
        system = dataclasses.replace(systems.SYSTEMS[name], config=shape)
        monkeypatch.setitem(systems.SYSTEMS, name, system)
        row = cell.run({"kind": "lm", "system": name, "dtype": "bfloat16", "batch": 2, "prompt": 6,
                        "frames": 4, "option": "packed", "size": "toy", "budget": 0.01, "runs": 1,
                        "threads": 1})  # fmt: skip
        assert row["rtf"] > 0 and row["main_bytes"] > 0 and row["heads_bytes"] > 0


def test_bfloat16_is_packed_where_the_processor_knows_it():
    import torch

    from almtok.core.linear import can_pack

    if not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        pytest.skip("this processor has no bfloat16")
    half = torch.ones(2, 2, dtype=torch.bfloat16)
    with torch.no_grad():
        assert can_pack(half, half)


def test_a_cell_that_dies_is_an_error_of_that_cell():
    question = {"kind": "lm", "system": "nonsense", "option": "packed", "dtype": "float32",
                "batch": 1, "size": "toy"}  # fmt: skip
    with pytest.raises(ValueError, match="system must be one of"):
        cell.run(question)
