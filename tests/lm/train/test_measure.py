"""``almtok lm measure``: what a training on many rows needs, and refuses to begin without."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from almtok.__main__ import main
from almtok.lm.data import mixing
from almtok.lm.data.lengths import LengthStore
from almtok.lm.train import LMTrainingConfig, offline, run
from almtok.lm.train.corpus import find_tasks, read_info, training_batches
from almtok.lm.train.initial_model import build_initial_model
from almtok.lm.train.measure import measure_lm

from ...pace import patience

Make = Callable[..., LMTrainingConfig]


@pytest.fixture(autouse=True)
def small(monkeypatch: Any) -> None:
    monkeypatch.setattr(mixing, "STORED_FROM", 4)
    monkeypatch.setattr(offline, "MEASURED_AT_START", 30)


@pytest.fixture
def config(toy_config: Make, tokens: Path, tmp_path: Path) -> LMTrainingConfig:
    """40 examples of two tasks, in a folder of their own."""
    shutil.copytree(tokens, tmp_path / "tokens")
    return toy_config(data=[str(tmp_path / "tokens")], tasks=["tts", "asr"], voices=0.5)


def stored(config: LMTrainingConfig) -> list[str]:
    return sorted(path.name for path in (Path(config.data[0]) / ".index").glob("*"))


def batches(config: LMTrainingConfig, count: int = 30) -> list[dict[str, torch.Tensor]]:
    choices = find_tasks(config)
    names = [choice.task.name for choice in choices]
    start = build_initial_model(config, read_info(config), names, lambda: ["row 1"] * 3)
    made = iter(training_batches(config, choices, start.lm.config, start.texts))
    return [next(made) for _ in range(count)]


def test_a_training_is_refused_until_its_rows_are_measured(
    config: LMTrainingConfig, monkeypatch: Any
) -> None:
    monkeypatch.setattr(offline, "MEASURED_AT_START", 1000)
    expected = batches(config)
    shutil.rmtree(Path(config.data[0]) / ".index")
    monkeypatch.setattr(offline, "MEASURED_AT_START", 30)
    with pytest.raises(ValueError, match="lengths of 40 examples are not made yet") as refused:
        batches(config)
    command = f"almtok lm measure --config {config.out}/config.json"
    assert f"run '{command}' first" in str(refused.value) and "(30)" in str(refused.value)
    result = measure_lm(config)
    assert result.examples == 40 and result.without == 0 and result.tasks == {"tts": 20, "asr": 20}
    assert len([name for name in stored(config) if name.startswith("lengths-")]) == 2
    for one, two in zip(batches(config), expected, strict=True):
        assert all(torch.equal(one[name], two[name]) for name in two)


def test_texts_for_a_tokenizer_are_counted_too(config: LMTrainingConfig) -> None:
    with pytest.raises(
        ValueError, match="the text tokenizer of 40 rows is not made yet"
    ) as refused:
        run.train_lm(config)
    words = re.search("run '(.*)' first", str(refused.value))
    assert words is not None and words[1].startswith("almtok lm measure ")
    assert not (Path(config.out) / "tokenizer").exists()
    assert main([*words[1].split()[1:], "--processes", "2"]) == 0  # what the message says
    assert (Path(config.out) / "tokenizer").is_dir()
    result = run.train_lm(config)
    assert result.finished and result.step == config.steps


def test_the_result_of_the_command(
    config: LMTrainingConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "c.json").write_text(json.dumps(config.to_dict()))
    words = ["lm", "measure", "--config", str(tmp_path / "c.json"), "--processes", "1"]
    assert main(words) == 0
    assert "40 examples are measured (tts: 20, asr: 20), " in capsys.readouterr().out
    assert main([*words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["tasks"] == {"tts": 20, "asr": 20}
    assert not (Path(config.out) / "config.json").exists()  # another training may begin there
    with pytest.raises(ValueError, match="needs no lengths"):
        measure_lm(LMTrainingConfig.from_dict({**config.to_dict(), "voices": 0.0, "stream": True}))


def test_read_only_tokens_are_measured_in_the_run_folder(
    config: LMTrainingConfig, monkeypatch: Any
) -> None:
    from almtok.lm.data import lengths

    own = lengths.writable
    data = Path(config.data[0])
    monkeypatch.setattr(lengths, "writable", lambda path: data not in path.parents and own(path))
    measure_lm(config)
    assert not stored(config)
    assert len(list((Path(config.out) / ".index").glob("lengths-*"))) == 2
    batches(config, 1)


def test_tokens_of_several_tasks_have_lengths_of_their_own(
    config: LMTrainingConfig, monkeypatch: Any
) -> None:
    """Also where two tasks are classes of one file and have the same rows."""
    found = []
    whole = LengthStore.lengths
    monkeypatch.setattr(
        LengthStore,
        "lengths",
        lambda self, key, *rest: found.append(key) or whole(self, key, *rest),
    )
    measure_lm(LMTrainingConfig.from_dict({**config.to_dict(), "voices": 0.0}))
    assert len(found) == len(set(found)) == 2


SCRIPT = """
import json, os, sys
import almtok
from almtok.lm.data import lengths, mixing
from almtok.lm.train import LMTrainingConfig
from almtok.lm.train.measure import measure_lm

mixing.STORED_FROM, lengths._PART = 4, 2
result = measure_lm(LMTrainingConfig.from_dict(json.load(open(sys.argv[1]))))
assert result.examples == 40, result
sys.stdout.flush()
os._exit(0)
"""


def test_processes_of_torchrun_measure_together(config: LMTrainingConfig, tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    (tmp_path / "c.json").write_text(json.dumps(config.to_dict()))
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [sys.executable, *launch, str(tmp_path / "script.py"), str(tmp_path / "c.json")],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=patience(120),
    )
    assert done.returncode == 0, done.stderr[-3000:]
    names = [name for name in stored(config) if name != "lock"]
    assert len(names) == 2 and all(name.startswith("lengths-") for name in names)
    batches(config, 1)  # is not refused
