"""Exact resume: killed at any moment and started again, a run ends bit-equal to an unbroken one."""

import json
import os
import random
import signal
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from almtok.codec.phonemes import PhonemeClassifier, PhonemeClassifierConfig

from ...pace import wait_until
from ..tiny_whisper import save_whisper

STEPS = 7


def run_values(toy_values: dict[str, Any], folder: Path) -> list[dict[str, Any]]:
    """Stage 1 and a stage 2 on it, each with accumulation and all parts of the state."""
    common = {
        **toy_values,
        "steps": STEPS,
        "accumulate": 2,
        "checkpoint_every": 2,
        "ema_decay": 0.9,
        "keep": 2,
    }
    first = {**common, "stage": "1", "out": str(folder / "one"), "num_workers": 1}
    second = {**common, "stage": "2", "out": str(folder / "two"), "init_from": first["out"]}
    second["quantize_start"] = 3  # codebooks are placed between two checkpoints
    second["weight_spectrum"] = 1.0
    second["weight_phones"] = 0.5
    second["weight_first_phones"] = 0.5
    second["weight_recognition"] = 0.5
    second["dataset"] = {**common.get("dataset", {}), "vary": 0.1}
    second["phoneme_classifier"] = str(folder / "phoneme_classifier.safetensors")
    torch.manual_seed(0)
    PhonemeClassifier(PhonemeClassifierConfig(width=16, num_bands=16)).save(
        second["phoneme_classifier"]
    )
    second["teacher_speech"] = f"whisper:{save_whisper(folder / 'whisper')}"
    second["weight_speech_features"] = 0.5
    second["weight_distillation"] = 0.5
    second["weight_first_distillation"] = 0.5
    second["muon_lr"] = 1e-3  # and both kinds of optimiser state must survive
    return [first, second]


def final_files(run: Path) -> dict[str, bytes]:
    """Every tensor file of the last checkpoint and of the exported codec."""
    folders = [run / "checkpoints" / f"step-{STEPS:08d}", run / "model"]
    return {
        f"{folder.name}/{path.name}": path.read_bytes()
        for folder in folders
        for path in sorted(folder.glob("*.safetensors"))
    }


def logged(run: Path) -> list[dict[str, Any]]:
    """Lines of the metrics without the speed, which no two runs share."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    for line in lines:
        line.pop("audio_seconds_per_second", None)
    return lines


@pytest.fixture(scope="module")
def unbroken(trainer: Any, toy_values: dict[str, Any], tmp_path_factory: Any) -> Path:
    folder: Path = tmp_path_factory.mktemp("unbroken")
    assert trainer.run(run_values(toy_values, folder), folder / "log") == 0, (
        folder / "log"
    ).read_text()
    return folder


def assert_same_end(broken: Path, unbroken: Path) -> None:
    for name in ("one", "two"):
        expected, found = final_files(unbroken / name), final_files(broken / name)
        assert expected.keys() == found.keys()
        different = [file for file in expected if expected[file] != found[file]]
        assert not different, f"{name}: {different}"
        assert logged(broken / name) == logged(unbroken / name)


def test_a_checkpoint_holds_all_that_moves(unbroken: Path) -> None:
    files = {name.split("/")[1] for name in final_files(unbroken / "two")}
    assert files == {
        "model.safetensors",
        "objectives.safetensors",
        "average.safetensors",
        "balancer.safetensors",
        "discriminators.safetensors",
        "generator_optimizer.safetensors",
        "discriminator_optimizer.safetensors",
    }


def test_killed_inside_accumulation_windows_and_inside_saving(
    trainer: Any, toy_values: dict[str, Any], unbroken: Path, tmp_path: Path
) -> None:
    values = run_values(toy_values, tmp_path)
    deaths: list[dict[str, Any]] = [
        {"kill": ["1", 1, 1]},  # before any checkpoint
        {"kill": ["1", 5, 1]},  # in the second half of a window
        {"save": 1},  # in the middle of the next checkpoint
        {"kill": ["2", 4, 0]},  # right after one
        {"kill": ["2", 6, 1]},  # in the last window
        {"save": 1},
    ]
    for death in deaths:
        assert trainer.run(values, tmp_path / "log", **death) == -signal.SIGKILL, (
            tmp_path / "log"
        ).read_text()
    assert trainer.run(values, tmp_path / "log") == 0, (tmp_path / "log").read_text()
    assert_same_end(tmp_path, unbroken)


@pytest.mark.parametrize("step", [STEPS - 1, STEPS])
def test_killed_between_a_checkpoint_and_the_exported_codec(
    trainer: Any, toy_values: dict[str, Any], unbroken: Path, tmp_path: Path, step: int
) -> None:
    values = run_values(toy_values, tmp_path)
    assert trainer.run(values, tmp_path / "log", export=step) == -signal.SIGKILL, (
        tmp_path / "log"
    ).read_text()
    assert trainer.run(values, tmp_path / "log") == 0, (tmp_path / "log").read_text()
    assert_same_end(tmp_path, unbroken)


def has_logged(metrics: Path, steps: int) -> bool:
    return metrics.exists() and len(metrics.read_text().splitlines()) >= steps


def test_killed_at_random_moments(
    trainer: Any, toy_values: dict[str, Any], unbroken: Path, tmp_path: Path
) -> None:
    values = run_values(toy_values, tmp_path)
    moments = random.Random(time.time_ns())
    for name in ("one", "two"):
        # Up to a random number of logged steps, then a random fraction of a step more.
        steps, delay = moments.randrange(1, STEPS), moments.random() * 0.1
        child = trainer.start(values, tmp_path / "log")
        metrics = tmp_path / name / "metrics.jsonl"
        wait_until(partial(has_logged, metrics, steps))
        time.sleep(delay)
        try:
            os.kill(child, signal.SIGKILL)
        except ProcessLookupError:
            pass  # it was faster
        trainer.wait()
    assert trainer.run(values, tmp_path / "log") == 0, (tmp_path / "log").read_text()
    assert_same_end(tmp_path, unbroken)
