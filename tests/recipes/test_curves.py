"""`almtok compare`: bands of a reference, verdicts, and the likeliest cause outside of them."""

import json

import numpy as np
import pytest

from almtok.__main__ import main
from almtok.recipes.curves import compare, read_curves, references


@pytest.fixture
def make_run(tmp_path):
    """A run folder whose mel loss falls from 3 to 1 and is scaled by a factor."""

    def make(name, steps=200, done=1.0, factor=1.0, loss="mel"):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps({"steps": steps}))
        rng = np.random.default_rng(len(name))
        lines = [
            {"step": step, "losses": {loss: factor * (1 + 2 * (1 - step / steps)) + noise}}
            for step, noise in zip(
                range(2, int(done * steps) + 1, 2), rng.normal(0, 0.02, steps), strict=False
            )
        ]
        lines.append({"step": steps, "validation": {}})
        (folder / "metrics.jsonl").write_text("".join(json.dumps(x) + "\n" for x in lines))
        return folder

    return make


def test_a_run_of_the_same_kind_lies_inside_at_any_length_and_age(make_run):
    reference = read_curves(make_run("reference"))
    for name, how in (("same", {}), ("longer", {"steps": 900}), ("young", {"done": 0.3})):
        (verdict,) = compare(read_curves(make_run(name, **how)), reference)
        assert verdict.inside, name
    assert verdict.share < 0.31  # the young one is judged where it stands


def test_outside_is_said_with_its_cause_and_exits_with_1(make_run, capsys):
    reference, high, low = make_run("a"), make_run("b", factor=1.5), make_run("c", factor=0.6)
    assert main(["compare", str(high), "--to", str(reference)]) == 1
    assert "learning rate" in capsys.readouterr().out
    assert main(["compare", str(low), "--to", str(reference)]) == 1
    assert "by heart" in capsys.readouterr().out
    assert main(["compare", str(make_run("d")), "--to", str(reference)]) == 0
    assert "as expected" in capsys.readouterr().out


def test_a_loss_that_is_no_number_lies_outside(make_run):
    run = make_run("nan")
    lines = (run / "metrics.jsonl").read_text().splitlines()
    lines.insert(-1, json.dumps({"step": 200, "losses": {"mel": None}}))
    (run / "metrics.jsonl").write_text("\n".join(lines))
    (verdict,) = compare(read_curves(run), read_curves(make_run("reference")))
    assert not verdict.inside


def test_curves_are_kept_and_read_back(make_run, tmp_path, capsys):
    run, saved = make_run("run"), tmp_path / "reference.json"
    assert main(["compare", str(run), "--save", str(saved)]) == 0
    assert len(saved.read_text()) < 3000
    assert main(["compare", str(run), "--to", str(saved)]) == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nowhere", "--to", "x"], "no run folder"),
        (["{run}"], "--to must be a run folder or one of"),
        (["{run}", "--to", "{other}"], "no loss in common"),
        (["{empty}", "--to", "{run}"], "no losses yet"),
    ],
)
def test_what_cannot_be_compared_is_one_line(words, message, make_run, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty/metrics.jsonl").write_text("")
    named = {
        "run": make_run("run"),
        "other": make_run("o", loss="text"),
        "empty": tmp_path / "empty",
    }
    assert main(["compare", *(word.format(**named) for word in words)]) == 1
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


@pytest.mark.parametrize("name", references())
def test_references_of_recipes_are_read_and_lie_in_their_own_bands(name):
    from almtok.recipes.curves import RECIPES

    recipe, stage = name.split("/")
    curves = read_curves(RECIPES / recipe / "reference" / f"{stage}.json")
    assert all(verdict.inside for verdict in compare(curves, curves))
