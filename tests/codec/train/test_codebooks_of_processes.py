"""Processes whose sums differ in the last bits keep the same codebooks all the same."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import torch

from almtok.core.distributed import broadcast, same_everywhere

from ...pace import patience


def test_processes_keep_the_same_codebooks(
    toy_values: dict[str, Any], tmp_path: Path, python: str
) -> None:
    values = {
        **toy_values, "stage": "2", "steps": 4, "quantize_start": 1, "freeze_patchify": False,
        "checkpoint_every": 2, "out": str(tmp_path / "run"),
    }  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(values))
    script = Path(__file__).with_name("codebook_process.py")
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    program = ["--no-python", python, str(script)]
    done = subprocess.run(
        [python, *launch, *program, str(tmp_path / "config.json"), str(tmp_path / "found.json")],
        env={**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"},
        capture_output=True,
        text=True,
        check=False,
        timeout=patience(120),
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads((tmp_path / "found.json").read_text())
    assert found == {"1": [True], "2": [True], "3": [True]}
    assert done.stderr.count("different codebooks at step 2") == 1, done.stderr[-3000:]


def test_one_process_agrees_with_itself() -> None:
    tensors = [torch.zeros(3), torch.tensor(True), torch.empty(0)]
    broadcast(tensors)
    assert same_everywhere(tensors)
