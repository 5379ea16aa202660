"""Two processes (gloo) train as one does: with DDP, and with weights divided by FSDP2.

Examples are padded in the one, packed in the other.
"""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch
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
from almtok.lm.train.trainer import AudioLMTrainer

torch.set_num_threads(1)
kept, inner = [], AudioLMTrainer.tensors


def tensors(trainer):
    found = inner(trainer)
    kept.append(sum(value.ndim > 0 for group in found.values() for value in group.values()))
    return found


AudioLMTrainer.tensors = tensors
for values in json.load(open(sys.argv[1])):
    if values.pop("again", False) and torch.distributed.get_rank() == 0:
        shutil.rmtree(Path(values["out"]) / "checkpoints" / "step-00000004")
    torch.distributed.is_initialized() and torch.distributed.barrier()
    train_lm(LMTrainingConfig.from_dict(values))
folder = Path(sys.argv[1]).parent
(folder / f"kept-{torch.distributed.get_rank()}.json").write_text(json.dumps(kept))
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
    divided = {**common, "out": str(folder / "divided"), "accumulate": 4, "packing": True}
    half = {**divided, "out": str(folder / "half"), "precision": "bf16"}
    return [whole, divided, half]


@pytest.fixture(scope="module")
def runs(
    trainer: Any, toy_values: dict[str, Any], tmp_path_factory: Any, python: str
) -> tuple[Path, Path]:
    one, two = tmp_path_factory.mktemp("one"), tmp_path_factory.mktemp("two")
    script, configs = two / "script.py", two / "configs.json"
    script.write_text(SCRIPT)
    whole, divided, half = values(toy_values, two)
    divided["shard"] = half["shard"] = True
    # And once more from the middle: divided weights go on, too.
    configs.write_text(json.dumps([whole, divided, {**divided, "again": True}, half]))
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


def test_layers_gathered_in_bfloat16_train_like_products_in_bfloat16(
    runs: tuple[Path, Path],
) -> None:
    one, two, exact = (
        lines(runs[n] / kind) for n, kind in ((0, "half"), (1, "half"), (0, KINDS[1]))
    )
    losses = [[line["loss"] for line in found if "loss" in line] for found in (one, two, exact)]
    assert losses[0] == pytest.approx(losses[1], rel=2e-3)
    assert losses[1] != pytest.approx(losses[2], rel=1e-6)
    file = Path("checkpoints") / f"step-{STEPS:08d}" / "model.safetensors"
    assert {value.dtype for value in load_file(runs[1] / "half" / file).values()} == {torch.float32}


def test_only_the_first_process_keeps_whole_tensors_of_divided_weights(
    runs: tuple[Path, Path],
) -> None:
    first, second = (json.loads((runs[1] / f"kept-{rank}.json").read_text()) for rank in (0, 1))
    assert len(first) == len(second) >= 6 and min(first) > 0
    assert second[:2] == first[:2] and set(second[2:]) == {0}  # DDP holds them anyhow
