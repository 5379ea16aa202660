"""Two nodes are one process: torchrun with two launchers that meet at a port, as on two hosts."""

import contextlib
import json
import os
import socket
import subprocess

import numpy as np
import pytest
import soundfile
import torch

from almtok.__main__ import main
from almtok.codec.config import ALMTokenizerConfig
from almtok.codec.model import ALMTokenizer

from .pace import patience

pytestmark = pytest.mark.slow

TINY = (
    *("--preset", "tiny", "--steps", "3", "--device", "cpu", "--precision", "fp32"),
    *("--tracker", "none", "--no-progress", "--log-every", "1"),
)
COMMANDS = {
    "tokenize": (
        *("lm", "tokenize", "manifest.jsonl", "--checkpoint", "codec", "--rows-per-shard", "2"),
        *("--no-progress", "--out"),
    ),
    "codec": (
        *("codec", "train", "--stage", "1", *TINY, "--data", "manifest.jsonl"),
        *("--batch-size", "2", "--segment-seconds", "0.5", "--num-workers", "0"),
        *("--adversarial-start", "-1", "--validate-every", "0", "--out"),
    ),
    "lm": (
        *("lm", "train", *TINY, "--data", "tokens", "--batch-positions", "64", "--accumulate", "2"),
        *("--validate-every", "0", "--samples", "0", "--out"),
    ),
}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A corpus, a codec and tokens."""
    folder = tmp_path_factory.mktemp("nodes")
    rows = []
    for n in range(8):
        wav = 0.1 * np.random.default_rng(n).standard_normal(24_000)
        soundfile.write(folder / f"{n}.wav", wav, 24_000)
        row = {"audio": f"{n}.wav", "id": str(n), "text": f"words of {n}", "domain": "speech"}
        rows.append({**row, "split": "train"})
    (folder / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    torch.manual_seed(0)
    ALMTokenizer(ALMTokenizerConfig.preset("tiny")).save_pretrained(folder / "codec")
    with contextlib.chdir(folder):
        assert main([*COMMANDS["tokenize"], "tokens"]) == 0
    return folder


def environment():
    quiet = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive", "ACCELERATE_USE_CPU": "true"}
    return {**os.environ, **quiet}


def run_on_two_nodes(folder, words, python):
    """Two launchers that know of each other by an address and a port alone."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    meet = ["--nnodes", "2", "--nproc-per-node", "1", "--master-addr", "127.0.0.1"]
    launch = [python, "-m", "torch.distributed.run", *meet, "--master-port", str(port)]
    nodes = [
        subprocess.Popen(
            [*launch, "--node-rank", str(rank), "--no-python", python, "-m", "almtok", *words],
            cwd=folder,
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in (1, 0)
    ]
    said = [node.communicate(timeout=patience(240))[0] for node in nodes]
    assert [node.returncode for node in nodes] == [0, 0], "\n".join(said)[-3000:]


@pytest.mark.parametrize("command", COMMANDS)
def test_two_nodes_do_what_one_process_does(command, place, monkeypatch, python):
    words = COMMANDS[command]
    monkeypatch.chdir(place)
    assert main([*words, f"{command}-one"]) == 0
    run_on_two_nodes(place, [*words, f"{command}-two"], python)
    one, two = place / f"{command}-one", place / f"{command}-two"
    if command == "tokenize":
        shards = sorted(path.name for path in one.glob("*.parquet"))
        assert len(shards) == 4
        assert all((one / name).read_bytes() == (two / name).read_bytes() for name in shards)
        return
    mine, theirs = (
        [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        for run in (one, two)
    )
    mine, theirs = ([x for x in lines if "losses" in x] for lines in (mine, theirs))
    assert [line["step"] for line in mine] == [line["step"] for line in theirs] == [1, 2, 3]
    for a, b in zip(mine, theirs, strict=True):
        assert a["losses"] == pytest.approx(b["losses"], rel=1e-4, abs=1e-4)
