"""recipes/ship/run.sh: its options exist, stages run once, and the card has the scores."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from almtok.core.files import write_json
from almtok.recipes.publish import check_commands, make_card

from ..tasks.conftest import learned  # noqa: F401  (a fixture)

SCRIPT = Path(__file__).parents[2] / "recipes/ship/run.sh"
STAGES = ("corpora", "codec", "tokens", "lm", "evaluation", "card")


@pytest.fixture
def ship(python):
    def run(*arguments, **environment):
        return subprocess.run(
            ["bash", str(SCRIPT), *map(str, arguments)], capture_output=True, text=True,
            env={**os.environ, "PYTHON": python, **environment},
        )  # fmt: skip

    return run


@pytest.mark.parametrize("tiny", [(), ("--tiny",)])
def test_a_dry_run_prints_commands_whose_options_exist(ship, tmp_path, tiny):
    result = ship("--dry-run", *tiny, "data", "models", tmp_path / "out", VOICES="joe ann")
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    assert [line[2:] for line in lines if line[0] == "#"] == list(STAGES)
    (train,) = (line for line in lines if line.startswith("almtok lm train"))
    assert "--speakers joe ann" in train and f"--steps {2 if tiny else 20000} " in train
    (tokens, held_out) = (line for line in lines if line.startswith("almtok lm tokenize"))
    assert " listening=data/speech_lj:train" in tokens and "listening" not in held_out
    assert not (tmp_path / "out").exists()


def test_an_option_that_does_not_exist_is_found(ship, tmp_path):
    result = ship("--dry-run", "data", "models", tmp_path, "lm", LM_OPTIONS="--no-such-option")
    assert result.returncode == 2 and "--no-such-option" in result.stderr


def test_unknown_stages_and_missing_arguments_are_refused(ship, tmp_path):
    result = ship("data", "models", tmp_path / "out", "train")
    assert result.returncode == 2 and "stage must be one of corpora" in result.stderr
    assert ship("data").returncode == 2 and not (tmp_path / "out").exists()


def test_a_stage_runs_once_and_a_failed_one_again(ship, tmp_path):
    (tmp_path / "python").write_text('#!/bin/sh\necho "$@" >> "$LOG"\nexit "$STATUS"\n')
    (tmp_path / "python").chmod(0o755)
    how = {"PYTHON": str(tmp_path / "python"), "LOG": str(tmp_path / "log")}
    call = ("data", "models", tmp_path / "out", "codec", "card")
    assert ship(*call, STATUS="3", **how).returncode == 3
    assert not list((tmp_path / "out/done").iterdir())
    assert ship(*call, STATUS="0", **how).returncode == 0
    assert ship(*call, STATUS="0", **how).stdout.splitlines() == [
        "run.sh: codec is done", "run.sh: card is done",
    ]  # fmt: skip
    assert (tmp_path / "log").read_text().count("run codec") == 2  # the failed one and its repeat


def test_commands_are_words_after_null_bytes(tmp_path):
    plan = tmp_path / "plan"
    plan.write_text("tts\0two words\0--out\0a.wav\0\n\0")
    check_commands([str(plan)])
    plan.write_text("tts\0--no-such\0\n\0")
    with pytest.raises(SystemExit):
        check_commands([str(plan)])


def test_the_card_has_the_scores_and_the_voices(learned, tmp_path):  # noqa: F811
    value = {"mean": 0.1, "low": 0.05, "high": 0.2, "n": 9}
    figure = {"task": "tts", "name": "WER (%)", "value": value, "percent": True, "note": ""}
    write_json(tmp_path / "lm" / "table.json", {"figures": [figure], "settings": {"seed": 0}})
    write_json(tmp_path / "codec" / "table.json", {"rows": []})
    made = make_card(Path(learned.folder), tmp_path, "run.sh")
    assert made["lm"]["metrics"] == {"tts": {"WER (%)": [0.1, 0.05, 0.2, 9]}}
    assert made["lm"]["voices"] == [] and made["training"] == "run.sh"
    assert made["fingerprint"] == learned.pipeline.codec.fingerprint
    assert json.loads(json.dumps(made)) == made
