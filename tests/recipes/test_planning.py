"""`almtok run RECIPE --plan`: the probe is the training itself, scaled to its steps."""

import dataclasses

import pytest

from almtok.__main__ import main
from almtok.codec.checkpoints import DEFAULT
from almtok.recipes import cli
from almtok.recipes.planning import StageCost, plan, plan_table

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


@pytest.mark.slow
@pytest.mark.parametrize(
    ("recipe", "stages"),
    [("codec", ("stage1", "stage2")), ("multitask", ("listening", "lm"))],
)
def test_every_training_is_measured_without_its_data(recipe, stages, tmp_path):
    _, story = cli.parse(recipe, [*SOURCES, *TINY[recipe], "--out", str(tmp_path / "out")])
    chosen = story.between(stages[0], stages[1])
    costs = plan(story, chosen, seconds=1.0)
    for name in stages:
        cost = costs[name]
        assert isinstance(cost, StageCost), cost
        assert cost.steps == {one.name: one for one in chosen}[name].config.steps
        assert 0 < cost.seconds_per_step < 60
        assert cost.hours == pytest.approx(cost.steps * cost.seconds_per_step / 3600)
        assert cost.memory_mb > 100 and cost.parameters > 0.01 and cost.checkpoint_mb > 0.01
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@pytest.mark.parametrize("made", [False, True])
def test_an_adapter_is_measured_on_a_model_that_is_there_or_on_one_of_its_sizes(made, tmp_path):
    words = ["--out", str(tmp_path / "out"), "--adapter.batch-positions", "256"]
    _, story = cli.parse("mini", words)
    (stage,) = story.between("adapter", "adapter")
    if made:  # as it is in the recipe of a voice: the model that comes with almtok
        config = dataclasses.replace(stage.config, init_from=str(DEFAULT))
        stage = dataclasses.replace(stage, config=config)
    cost = plan(story, [stage], seconds=1.0)["adapter"]
    assert isinstance(cost, StageCost), cost
    assert cost.steps == stage.config.steps and 0 < cost.seconds_per_step < 60
    assert not (tmp_path / "out").exists()


def test_the_table_says_what_was_not_measured():
    _, story = cli.parse("asr", ["--backbone", "somewhere/else"])
    costs = {"lm": StageCost("lm", 3600, 2.0, 1500.0, 12.0, 90.0), "x": "no such model"}
    text = plan_table(story, costs)
    assert "2.00 h" in text and "not measured: no such model" in text
    assert "tokens, held-out, scores" in text


def test_the_codec_s_plan_points_to_it(capsys):
    assert main(["plan", "multitask"]) == 1
    assert "almtok run multitask --plan" in capsys.readouterr().err
