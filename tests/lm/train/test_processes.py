"""Two processes (gloo) train as one does: with DDP, and with weights divided by FSDP2."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from ...pace import patience

STEPS = 4
KINDS = ("whole", "divided")
SCRIPT = """
import json, os, shutil, sys
from pathlib import Path
import torch
import almtok
from almtok.lm.train import LMTrainingConfig
from almtok.lm.train.run import train_lm

torch.set_num_threads(1)
for values in json.load(open(sys.argv[1])):
    if values.pop("again", False) and torch.distributed.get_rank() == 0:
        shutil.rmtree(Path(values["out"]) / "checkpoints" / "step-00000004")
    torch.distributed.is_initialized() and torch.distributed.barrier()
    train_lm(LMTrainingConfig.from_dict(values))
torch.distributed.barrier()
torch.distributed.destroy_process_group()
# What is tested is done; gloo's threads have been seen to abort an interpreter that goes down.
sys.stdout.flush()
os._exit(0)
"""


def values(toy: dict[str, Any], folder: Path) -> list[dict[str, Any]]:
    """Two micro-batches a step: both in one process, or one in each of two; then four."""
    common = {**toy, "steps": STEPS, "validate_every": 2, "checkpoint_every": 2}
    whole = {**common, "out": str(folder / "whole")}
    divided = {**common, "out": str(folder / "divided"), "accumulate": 4}
    return [whole, divided]


@pytest.fixture(scope="module")
def runs(
    trainer: Any, toy_values: dict[str, Any], tmp_path_factory: Any, python: str
) -> tuple[Path, Path]:
    one, two = tmp_path_factory.mktemp("one"), tmp_path_factory.mktemp("two")
    script, configs = two / "script.py", two / "configs.json"
    script.write_text(SCRIPT)
    whole, divided = values(toy_values, two)
    divided["shard"] = True  # and once more from the middle: divided weights go on, too
    configs.write_text(json.dumps([whole, divided, {**divided, "again": True}]))
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    process = subprocess.Popen(
        [python, *launch, "--no-python", python, str(script), str(configs)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    status = trainer.run(values(toy_values, one), one / "log")
    assert status == 0, (one / "log").read_text()
    output, _ = process.communicate(timeout=patience(240))
    assert process.returncode == 0, output[-3000:]
    return one, two


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("kind", KINDS)
def test_losses_agree_within_1e_5(runs: tuple[Path, Path], kind: str) -> None:
    one, two = (lines(folder / kind) for folder in runs)
    assert [line["step"] for line in one] == [line["step"] for line in two]
    for mine, theirs in zip(one, two, strict=True):
        mine = mine.get("validation", mine)
        theirs = theirs.get("validation", theirs)
        for name in {"loss", "losses", "accuracies", "targets", "tts", "asr"} & mine.keys():
            assert flat(mine[name]) == pytest.approx(flat(theirs[name]), rel=1e-5, abs=1e-5), name


def flat(value: Any) -> Any:
    """Numbers of nested dicts, by joined names."""
    if not isinstance(value, dict):
        return value
    found = {}
    for key, inner in value.items():
        below = flat(inner)
        found |= (
            {f"{key}.{k}": v for k, v in below.items()} if isinstance(below, dict) else {key: below}
        )
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_weights_moments_and_models_agree(runs: tuple[Path, Path], kind: str) -> None:
    folder = Path("checkpoints") / f"step-{STEPS:08d}"
    for file in (folder / "model.safetensors", folder / "optimizer.safetensors",
                 Path("model/model.safetensors")):  # fmt: skip
        one, two = (load_file(run / kind / file) for run in runs)
        assert one.keys() == two.keys()
        for name, value in one.items():
            assert value.shape == two[name].shape, name
            difference = float((value.double() - two[name].double()).norm())
            assert difference <= 1e-3 * float(value.double().norm()) + 1e-9, (file, name)
