"""How long the demo is said to take, and how many steps fit into some minutes."""

import json
from pathlib import Path

import pytest

from almtok.__main__ import build_parser, main
from almtok.recipes.mini import STEPS, cli, pace
from almtok.recipes.mini.pace import Pace

SLOW = Pace(2.0, 1.0, {"example": 10.0, "lm": 100.0, "tokens": 50.0})


def test_the_reference_has_every_stage() -> None:
    known = pace.REFERENCE
    assert tuple(known.stages) == STEPS
    assert {*pace.TRAINED, *pace.SHRINKING} <= set(STEPS)


def test_every_stage_is_as_much_slower_as_the_steps() -> None:
    assert SLOW.on(4.0, 1.0).stages == {"example": 15.0, "lm": 150.0, "tokens": 75.0}
    assert SLOW.on(2.0, 1.0) == SLOW


@pytest.mark.parametrize(
    ("scale", "without", "seconds"),
    [(1.0, (), 160.0), (2.0, (), 260.0), (0.5, (), 85.0), (1.0, ("lm", "tokens"), 10.0)],
)
def test_trainings_grow_with_the_steps_and_corpora_shrink(scale, without, seconds) -> None:
    assert SLOW.seconds(scale, without) == pytest.approx(seconds)


@pytest.mark.parametrize("minutes", [1, 2, 5, 60])
def test_the_steps_fit_into_the_minutes(minutes: float) -> None:
    assert SLOW.seconds(SLOW.scale_for(minutes)) == pytest.approx(60 * minutes, rel=0.06)


def test_too_few_minutes_are_refused_with_what_it_would_take() -> None:
    with pytest.raises(ValueError, match="--minutes 5 is too short: .* takes 32 minutes"):
        SLOW.on(300.0, 150.0).scale_for(5)


def test_the_demo_says_its_time_and_takes_the_minutes(tmp_path: Path, monkeypatch, capsys) -> None:
    known = pace.REFERENCE
    measured = {
        "seconds_per_step": 10 * known.seconds_per_step,
        "seconds_per_batch": 10 * known.seconds_per_batch,
    }
    (tmp_path / "pace.json").write_text(json.dumps(measured))
    asked = []
    monkeypatch.setattr("almtok.recipes.run.run_recipe", lambda story, *_: asked.append(story) or 0)
    plain = ["demo", "--out", str(tmp_path)]
    options = build_parser().parse_args([*plain, "--minutes", "45"])
    assert cli.demo(options) == 0
    said = capsys.readouterr().out
    assert "about 4" in said and "minutes on this machine" in said  # 43 to 47
    steps = {stage.name: stage.config.steps for stage in asked[0].stages if stage.config}
    assert 2 <= steps["lm"] < 850
    assert cli.demo(build_parser().parse_args(plain)) == 0
    slow = round(10 * pace.REFERENCE.seconds() / 60)
    assert f"about {slow} minutes on this machine (--scale 1)" in capsys.readouterr().out


def test_minutes_and_scale_exclude_each_other(capsys) -> None:
    assert main(["demo", "--minutes", "5", "--scale", "1"]) == 1
    assert "give --minutes or --scale, not both" in capsys.readouterr().err
