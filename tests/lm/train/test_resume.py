"""Exact resume: killed at any moment and started again, a run ends bit-equal to an unbroken one."""

import json
import os
import random
import signal
from pathlib import Path
from typing import Any

import pytest

from almtok.core.training.checkpoint import CheckpointError
from almtok.lm.train import LMTrainingConfig
from almtok.lm.train.run import train_lm

STEPS = 7


def values(toy: dict[str, Any], folder: Path, **changes: Any) -> dict[str, Any]:
    """A run with accumulation, bucketing and texts of no recording, over several epochs."""
    passages = Path(toy["data"][0]).with_name("passages.txt")
    passages.write_text("row of words\nanother row\nno row\n")
    common = {**toy, "steps": STEPS, "accumulate": 3, "checkpoint_every": 2, "voices": 0.5}
    return {**common, "texts": [str(passages)], "out": str(folder / "run"), **changes}


def streamed(toy: dict[str, Any], folder: Path) -> dict[str, Any]:
    """A stream, and Muon for the matrices."""
    given = dict(stream=True, texts=[], voices=0.0, num_workers=1, tasks=["tts=1", "asr=0.5"])
    return values(toy, folder, **given, muon_lr=1e-3, input_noise=0.1)


def final_files(folder: Path) -> dict[str, bytes]:
    """Every tensor file of the last checkpoint and of the saved model."""
    folders = [folder / "run/checkpoints" / f"step-{STEPS:08d}", folder / "run/model"]
    return {
        f"{place.name}/{path.name}": path.read_bytes()
        for place in folders
        for path in sorted(place.glob("*.safetensors"))
    }


def logged(folder: Path) -> list[dict[str, Any]]:
    """Lines of the metrics without the speed, which no two runs share."""
    text = (folder / "run/metrics.jsonl").read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    for line in lines:
        line.pop("targets_per_second", None)
    return lines


@pytest.fixture(scope="module")
def unbroken(trainer: Any, toy_values: dict[str, Any], tmp_path_factory: Any) -> Path:
    folder: Path = tmp_path_factory.mktemp("unbroken")
    status = trainer.run([values(toy_values, folder)], folder / "log")
    assert status == 0, (folder / "log").read_text()
    return folder


def assert_same_end(broken: Path, unbroken: Path) -> None:
    expected, found = final_files(unbroken), final_files(broken)
    assert expected.keys() == found.keys()
    assert not [file for file in expected if expected[file] != found[file]]
    assert logged(broken) == logged(unbroken)


def test_no_pickle_anywhere_in_a_run(unbroken: Path) -> None:
    files = [path for path in unbroken.rglob("*") if path.is_file()]
    suffixes = {path.suffix for path in files if path.name not in ("log", ".lock")}
    # The program is what says to users without almtok what to install (core/model_card.py).
    assert suffixes == {".json", ".jsonl", ".md", ".py", ".safetensors"}
    assert {name for name in final_files(unbroken) if name.startswith("step")} == {
        f"step-{STEPS:08d}/model.safetensors",
        f"step-{STEPS:08d}/optimizer.safetensors",
    }


def test_killed_inside_an_accumulation_window(
    trainer: Any, toy_values: dict[str, Any], unbroken: Path, tmp_path: Path
) -> None:
    config = values(toy_values, tmp_path)
    draw = random.Random(os.environ.get("PYTEST_SEED", "almtok"))
    for earliest in (0, 3):  # before and after the first checkpoint
        moment = [draw.randint(earliest, earliest + 2), draw.randint(0, 2)]
        assert trainer.run([config], tmp_path / "log", kill=moment) == -signal.SIGKILL, moment
    assert trainer.run([config], tmp_path / "log") == 0, (tmp_path / "log").read_text()
    assert_same_end(tmp_path, unbroken)


def test_killed_while_saving(
    trainer: Any, toy_values: dict[str, Any], unbroken: Path, tmp_path: Path
) -> None:
    config = values(toy_values, tmp_path)
    assert trainer.run([config], tmp_path / "log", save=2) == -signal.SIGKILL
    assert trainer.run([config], tmp_path / "log") == 0, (tmp_path / "log").read_text()
    assert_same_end(tmp_path, unbroken)


@pytest.mark.parametrize("packing", [False, True])
def test_a_stream_with_workers_goes_on_exactly(
    trainer: Any, toy_values: dict[str, Any], tmp_path: Path, packing: bool
) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    for folder in (whole, broken):
        folder.mkdir()
    log = tmp_path / "log"
    given = {**toy_values, "packing": packing}
    assert trainer.run([streamed(given, whole)], log) == 0, log.read_text()
    config = streamed(given, broken)
    assert trainer.run([config], log, kill=[5, 1]) == -signal.SIGKILL
    assert trainer.run([config], log) == 0, log.read_text()
    assert_same_end(broken, whole)


def test_packed_examples_go_on_exactly(
    trainer: Any, toy_values: dict[str, Any], unbroken: Path, tmp_path: Path
) -> None:
    """With conditions read in both directions, an attention dropout and CTC."""
    backbone = {**toy_values["model"]["backbone"], "attention_dropout": 0.2}
    model = {**toy_values["model"], "backbone": backbone}
    model |= {"bidirectional_conditions": True, "ctc_weight": 0.5}
    ends, log = [], tmp_path / "log"
    for name, kill in (("whole", None), ("broken", [3, 1])):
        config = values(toy_values, tmp_path / name, packing=True, model=model, validate_every=3)
        if kill:
            assert trainer.run([config], log, kill=kill) == -signal.SIGKILL, log.read_text()
        assert trainer.run([config], log) == 0, log.read_text()
        ends.append(final_files(tmp_path / name))
    assert ends[0] == ends[1] and ends[0] != final_files(unbroken)
    assert logged(tmp_path / "whole") == logged(tmp_path / "broken")


def test_an_adapter_with_dropout_goes_on_exactly(
    trainer: Any, toy_values: dict[str, Any], unbroken: Path, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    ends = []
    for name, kill in (("whole", None), ("broken", [3, 1])):
        base = {"init_from": str(unbroken / "run"), "model": {}, "voices": 0.0}
        lora = {"lora_rank": 2, "lora_dropout": 0.3}
        config = values(toy_values, tmp_path / name, **base, **lora)
        if kill:
            assert trainer.run([config], log, kill=kill) == -signal.SIGKILL, log.read_text()
        assert trainer.run([config], log) == 0, log.read_text()
        ends.append(final_files(tmp_path / name))
        adapter = tmp_path / name / "run/adapter/adapter_model.safetensors"
        ends[-1]["adapter"] = adapter.read_bytes()
    assert ends[0] == ends[1]


def test_another_configuration_is_refused(unbroken: Path, toy_values: dict[str, Any]) -> None:
    config = LMTrainingConfig.from_dict(values(toy_values, unbroken, lr=1.0))
    with pytest.raises(ValueError, match=r"lr: 0.001 -> 1.0"):
        train_lm(config)


def test_a_finished_run_does_nothing_again(unbroken: Path, toy_values: dict[str, Any]) -> None:
    before = final_files(unbroken)
    result = train_lm(LMTrainingConfig.from_dict(values(toy_values, unbroken)))
    assert result.finished and result.step == STEPS
    assert final_files(unbroken) == before


def test_a_missing_source_is_an_error(toy_values: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    config = LMTrainingConfig.from_dict(
        {**toy_values, "out": str(tmp_path / "run"), "init_from": str(tmp_path / "empty")}
    )
    with pytest.raises(CheckpointError, match="no language model in"):
        train_lm(config)
