"""Two processes are one: same losses, same weights on the same global batch, in every stage."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from ...pace import patience

STEPS = 4

SCRIPT = """
import json, sys
import almtok
import torch
from almtok.codec.train import CodecTrainConfig, train_codec
torch.set_num_threads(1)
for values in json.load(open(sys.argv[1])):
    train_codec(CodecTrainConfig.from_dict(values))
if torch.distributed.is_initialized():
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()
"""


def run_values(toy_values: dict[str, Any], folder: Path) -> list[dict[str, Any]]:
    common = {**toy_values, "steps": STEPS, "lr": 1e-4, "checkpoint_every": 0}
    first = {**common, "stage": "1", "out": str(folder / "1")}
    second = {**common, "stage": "2", "out": str(folder / "2"), "init_from": first["out"]}
    second["quantize_start"] = 1
    third = {**common, "stage": "adapt", "out": str(folder / "adapt"), "init_from": second["out"]}
    return [first, second, third]


@pytest.fixture(scope="module")
def runs(
    trainer: Any, toy_values: dict[str, Any], tmp_path_factory: Any, python: str
) -> tuple[Path, Path]:
    one, two = tmp_path_factory.mktemp("one"), tmp_path_factory.mktemp("two")
    trainer.start(run_values(toy_values, one), one / "log")
    script, configs = two / "script.py", two / "configs.json"
    script.write_text(SCRIPT)
    configs.write_text(json.dumps(run_values(toy_values, two)))
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [python, *launch, "--no-python", python, str(script), str(configs)],
        env={**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"},
        capture_output=True,
        text=True,
        check=False,
        timeout=patience(240),
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert trainer.wait() == 0, (one / "log").read_text()
    return one, two


@pytest.mark.parametrize("stage", ["1", "2", "adapt"])
def test_losses_agree_within_1e_5(runs: tuple[Path, Path], stage: str) -> None:
    one, two = (
        [json.loads(line) for line in (folder / stage / "metrics.jsonl").read_text().splitlines()]
        for folder in runs
    )
    assert [line["step"] for line in one] == [line["step"] for line in two] == [1, 2, 3, 4]
    for mine, theirs in zip(one, two, strict=True):
        assert mine["frames_per_query"] == theirs["frames_per_query"]
        assert mine["losses"] == pytest.approx(theirs["losses"], rel=1e-5, abs=1e-5)


@pytest.mark.parametrize("stage", ["1", "2", "adapt"])
def test_weights_and_codebooks_agree(runs: tuple[Path, Path], stage: str) -> None:
    one, two = (
        load_file(folder / stage / "checkpoints" / f"step-{STEPS:08d}" / "model.safetensors")
        for folder in runs
    )
    assert one.keys() == two.keys()
    for name, value in one.items():
        difference = float((value.double() - two[name].double()).norm())
        assert difference <= 1e-3 * float(value.double().norm()), name
