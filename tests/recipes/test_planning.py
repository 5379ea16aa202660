"""`almtok run RECIPE --plan`: the probe is the training itself, scaled to its steps."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from almtok.__main__ import main
from almtok.codec.checkpoints import DEFAULT
from almtok.core.files import write_json
from almtok.lm.train.config import LMTrainingConfig
from almtok.recipes import cli, planning
from almtok.recipes.planning import StageCost, plan, plan_table
from almtok.recipes.run import Stage

SOURCES = ["--train", "speech=a/", "--valid", "speech=b/", "--test", "speech=c/"]
TINY = {
    "codec": [
        *("--stage1.preset", "tiny", "--stage1.batch-size", "2", "--stage1.precision", "fp32"),
        *("--stage2.preset", "tiny", "--stage2.batch-size", "2", "--stage2.precision", "fp32"),
        *("--stage1.num-workers", "0", "--stage2.num-workers", "0"),
    ],
    "multitask": [
        *("--listening.batch-positions", "256", "--listening.precision", "fp32"),
        *("--lm.batch-positions", "256", "--lm.precision", "fp32"),
    ],
}


@pytest.fixture
def here(monkeypatch):
    """Probes and what they begin with are trained in this process, by one step each."""

    def train(words: Sequence[str], config: dict[str, Any], file: Path) -> None:
        write_json(file, config)
        assert main([*words, "--config", str(file)]) == 0

    def probe(stage: Stage, folder: Path, out: Path, seconds: float) -> tuple[float, str]:
        config = json.loads((folder / "probe.json").read_text())
        train(stage.command, {**config, "steps": 1}, folder / "probe.json")
        return 1000.0, "ended"

    def base(config: LMTrainingConfig, folder: Path) -> None:
        train(["lm", "train"], config.to_dict(), folder / "base.json")

    monkeypatch.setattr(planning, "_run", probe)
    monkeypatch.setattr(planning, "_train_base", base)


def judge(cost: StageCost | str, stage: Stage) -> None:
    assert isinstance(cost, StageCost), cost
    assert cost.steps == stage.config.steps
    assert cost.seconds_per_step > 0
    assert cost.hours == pytest.approx(cost.steps * cost.seconds_per_step / 3600)
    assert cost.memory_mb > 100 and cost.checkpoint_mb > 0.01
    assert cost.parameters > 0.01 or stage.name == "adapter"  # which is no model


@pytest.mark.slow
def test_a_training_is_measured_in_a_process_of_its_own_and_interrupted(tmp_path):
    _, story = cli.parse("codec", [*SOURCES, *TINY["codec"], "--out", str(tmp_path / "out")])
    (stage,) = story.between("stage1", "stage1")
    judge(plan(story, [stage], seconds=1.0)["stage1"], stage)
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("recipe", "stages"), [("codec", ("stage2",)), ("multitask", ("listening", "lm"))]
)
def test_every_training_is_measured_without_its_data(recipe, stages, tmp_path, here):
    _, story = cli.parse(recipe, [*SOURCES, *TINY[recipe], "--out", str(tmp_path / "out")])
    chosen = story.between(stages[0], stages[-1])
    costs = plan(story, chosen)
    assert set(stages) <= set(costs)
    for stage in chosen:
        if stage.name in costs:
            judge(costs[stage.name], stage)
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@pytest.mark.parametrize("made", [False, True])
def test_an_adapter_is_measured_on_a_model_that_is_there_or_on_one_of_its_sizes(
    made, tmp_path, here
):
    words = ["--out", str(tmp_path / "out"), "--adapter.batch-positions", "256"]
    _, story = cli.parse("mini", words)
    (stage,) = story.between("adapter", "adapter")
    if made:  # as it is in the recipe of a voice: the model that comes with almtok
        config = dataclasses.replace(stage.config, init_from=str(DEFAULT))
        stage = dataclasses.replace(stage, config=config)
    judge(plan(story, [stage])["adapter"], stage)
    assert not (tmp_path / "out").exists()


def test_the_table_says_what_was_not_measured():
    _, story = cli.parse("asr", ["--backbone", "somewhere/else"])
    costs = {"lm": StageCost("lm", 3600, 2.0, 1500.0, 12.0, 90.0), "x": "no such model"}
    text = plan_table(story, costs)
    assert "2.00 h" in text and "not measured: no such model" in text
    assert "tokens, held-out, scores" in text


def test_the_codec_s_plan_points_to_it(capsys):
    assert main(["codec", "plan", "multitask"]) == 1
    assert "almtok run multitask --plan" in capsys.readouterr().err
