"""`almtok run`: stages in order, options by name, and nothing of another run is overwritten."""

import importlib
import json
import os
import signal
import subprocess
import sys

import pytest

import almtok
from almtok.__main__ import main
from almtok.codec.train import CodecTrainConfig
from almtok.recipes import cli, former_names, run

from ..loading.fuzz import fuzz_json
from ..pace import wait_until

RECIPE = '''
"""A recipe of a test."""
from dataclasses import dataclass
from almtok.codec.train import config as train
from almtok.core.options import option
from almtok.recipes.run import RecipeOptions, Stage

@dataclass(frozen=True, kw_only=True)
class Options(RecipeOptions):
    word: str = option("hello", "what is said")

def stages(o):
    return [
        Stage(name="first", what="a word", program="words:say", command=(o.out, "first", o.word)),
        Stage(name="second", what="more", program="words:say", command=(o.out, "second", o.word)),
    ]
'''
WORDS = """
import os, pathlib, sys, time
def say():
    out, name, word = sys.argv[1:]
    log = pathlib.Path(out, "log")
    log.write_text((log.read_text() if log.exists() else "") + name + word + "\\n")
    if word == "fail":
        sys.exit(3)
    if word == "wait" and name == "first" and not os.environ.get("HURRY"):
        time.sleep(3600)
"""


@pytest.fixture
def recipe(tmp_path, monkeypatch):
    """A recipe in a file; its programs note that they ran."""
    (tmp_path / "words.py").write_text(WORDS)
    (tmp_path / "mine.py").write_text(RECIPE)
    known = os.environ.get("PYTHONPATH")
    places = [str(tmp_path), known] if known else [str(tmp_path)]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(places))  # of a process that a test starts
    monkeypatch.syspath_prepend(tmp_path)  # of forks of this one
    return str(tmp_path / "mine.py")


def test_stages_run_in_order_and_once(recipe, tmp_path, capfd):
    out = tmp_path / "out"
    assert main(["run", recipe, "--out", str(out)]) == 0
    assert main(["run", recipe, "--out", str(out)]) == 0
    assert (out / "log").read_text().split() == ["firsthello", "secondhello"]
    assert "done before" in capfd.readouterr().out
    told = json.loads((out / "run.json").read_text())
    assert told["options"] == {"out": str(out), "device": "auto", "word": "hello"}
    assert all(stage["finished"] for stage in told["stages"].values())


def test_some_stages_alone_and_one_anew(recipe, tmp_path, capfd):
    out = tmp_path / "out"
    assert main(["run", recipe, "--out", str(out), "--from", "second"]) == 0
    assert "first has not been done" in capfd.readouterr().out
    assert main(["run", recipe, "--out", str(out), "--again", "second"]) == 0
    assert (out / "log").read_text().split() == ["secondhello", "firsthello", "secondhello"]


def test_what_a_stage_made_before_is_kept_when_it_is_done_anew(tmp_path, capsys):
    config = CodecTrainConfig.from_dict({"data": ["a"], "out": str(tmp_path / "stage1")})
    stage = run.Stage(name="stage1", what="", command=("codec", "train"), config=config)
    other = run.Stage(name="x", what="", command=("codec", "plan", "--out", str(tmp_path / "x.md")))
    recipe_run = run.RecipeRun("r", run.RecipeOptions(out=str(tmp_path)), (stage, other))
    for content in ("one", "two"):
        (tmp_path / "stage1").mkdir()
        (tmp_path / "stage1/model").write_text(content)
        (tmp_path / "x.md").write_text(content)
        state = run.RunState(recipe_run)
        state.forget(stage)
        state.forget(other)
    assert (tmp_path / "stage1.before-1/model").read_text() == "one"
    assert (tmp_path / "stage1.before-2/model").read_text() == "two"
    assert (tmp_path / "x.md.before-2").read_text() == "two"
    assert not (tmp_path / "stage1").exists()


def test_a_stage_whose_product_is_gone_is_done_again(tmp_path):
    stage = run.Stage(name="x", what="", command=("codec", "plan", "--out", str(tmp_path / "x.md")))
    recipe_run = run.RecipeRun("r", run.RecipeOptions(out=str(tmp_path)), (stage,))
    (tmp_path / "x.md").write_text("one")
    run.RunState(recipe_run).end(stage, 1.0)
    assert run.RunState(recipe_run).finished(stage)
    (tmp_path / "x.md").unlink()
    assert not run.RunState(recipe_run).finished(stage)


def test_another_run_in_the_same_folder_is_refused(recipe, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["run", recipe, "--out", str(out)]) == 0
    assert main(["run", recipe, "--out", str(out), "--word", "other"]) == 1
    error = capsys.readouterr().err
    assert "first was begun" in error and "hello" in error and "other" in error
    assert (out / "log").read_text().split() == ["firsthello", "secondhello"]
    other = tmp_path / "theirs.py"
    other.write_text(RECIPE)
    assert main(["run", str(other), "--out", str(out)]) == 1
    assert "holds a run of recipe mine" in capsys.readouterr().err


def test_a_stage_that_fails_ends_the_run_with_its_status(recipe, tmp_path):
    out = tmp_path / "out"
    assert main(["run", recipe, "--out", str(out), "--word", "fail"]) == 3
    assert (out / "log").read_text().split() == ["firstfail"]
    assert main(["run", recipe, "--out", str(out), "--word", "fail"]) == 3  # tried again
    assert (out / "log").read_text().split() == ["firstfail", "firstfail"]


# The programs of the recipe need no library, so that none is loaded for their process.
LIGHT = """
import sys
from almtok.__main__ import main
from almtok.recipes import stage_process
stage_process._LOADED = ()
if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
"""


def test_a_killed_run_goes_on_with_the_stage_that_was_killed(recipe, tmp_path):
    out = tmp_path / "out"
    command = [sys.executable, "-c", LIGHT, "run", recipe, "--out", str(out), "--word", "wait"]
    process = subprocess.Popen(command, start_new_session=True)
    wait_until(lambda: (out / "log").exists() and (out / "log").read_text())
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    told = json.loads((out / "run.json").read_text())
    assert not told["stages"]["first"]["finished"]
    subprocess.run(command, check=True, env={**os.environ, "HURRY": "1"})
    assert (out / "log").read_text().split() == ["firstwait", "firstwait", "secondwait"]


def test_dry_run_tells_and_does_nothing(recipe, tmp_path, capsys):
    assert main(["run", recipe, "--out", str(tmp_path / "out"), "--dry-run"]) == 0
    assert "# first: a word" in capsys.readouterr().out
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["mime"], "unknown recipe 'mime'"),
        (["multitas"], "did you mean multitask?"),
        (["nowhere.py"], "there is no such file"),
        (["codec", "--train", "a", "--test", "b"], "--valid is missing"),
        (["codec", "--train", "speech=nowhere"], "nowhere does not exist"),
        (["tts", "--train", "hf:owner/name"], "is not divided here"),
        (["codec", "--stage2.stepz", "4"], "--train is missing"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(words, message, capsys):
    assert main(["run", *words]) == 1
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


SOURCES = ["--train", "speech=a/", "--valid", "speech=b/", "--test", "speech=c/"]


def test_fields_of_a_stage_are_options(capsys):
    _, told = cli.parse("codec", [*SOURCES, "--stage2.steps", "7", "--stage1.lr", "0.5"])
    configs = {stage.name: stage.config for stage in told.stages if stage.config is not None}
    assert configs["stage2"].steps == 7 and configs["stage1"].lr == 0.5
    for words, nearest in (
        ([*SOURCES, "--stage2.stepz", "7"], "--stage2.steps"),
        (["--trian", "a"], "--train"),
    ):
        with pytest.raises(SystemExit):
            main(["run", "codec", *words])
        assert f"did you mean {nearest}?" in capsys.readouterr().err
    assert main(["run", "codec", *SOURCES, "--from", "stage3"]) == 1
    assert "did you mean 'stage2'?" in capsys.readouterr().err
    assert main(["run", "codec", *SOURCES, "--from", "scores", "--to", "prior"]) == 1
    assert "comes after" in capsys.readouterr().err


def test_how_a_training_is_watched_may_change_in_a_begun_folder(tmp_path):
    def stage(**changes):
        config = CodecTrainConfig.from_dict({"data": ["a"], "out": "x", **changes})
        return run.Stage(name="stage1", what="", command=("codec", "train"), config=config)

    begun = stage().record()
    assert stage(log_every=3).difference(begun) == ""
    assert "batch_size" in stage(batch_size=3).difference(begun)


def test_a_file_without_stages_is_no_recipe(tmp_path, capsys):
    (tmp_path / "empty.py").write_text("x = 1\n")
    assert main(["run", str(tmp_path / "empty.py")]) == 1
    assert "has no Options" in capsys.readouterr().err


def test_recipes_are_listed(capsys):
    assert main(["run"]) == 0
    listed = capsys.readouterr().out
    assert all(name in listed for name in ("codec", "multitask", "lora_voice"))


def test_a_run_of_another_version_is_said_and_goes_on(recipe, tmp_path, capfd):
    out = tmp_path / "out"
    assert main(["run", recipe, "--out", str(out), "--to", "first"]) == 0
    state = json.loads((out / "run.json").read_text())
    (out / "run.json").write_text(json.dumps({**state, "version": "0.0.7"}))
    assert main(["run", recipe, "--out", str(out)]) == 0
    assert "was begun by almtok 0.0.7" in capfd.readouterr().out
    assert (out / "log").read_text().split() == ["firsthello", "secondhello"]


def test_a_folder_that_records_former_names_is_resumed(tmp_path):
    program = "almtok.recipes.transforms.cut_words:main"
    stage = run.Stage(name="cuts", what="", program=program, command=("speech=a", "--out", "x"))
    record = {**stage.record(), "program": "almtok.recipes.multitask.cutting:main"}
    assert stage.difference(record) == ""
    assert stage.difference({**record, "program": "almtok.recipes.multitask.books:main"})
    training = run.Stage(name="lm", what="", command=("lm", "train", "--steps", "2"))
    old = {**training.record(), "command": ["train", "lm", "--steps", "2"]}
    assert training.difference(old) == ""
    assert training.difference({**old, "command": ["train", "codec", "--steps", "2"]})


@pytest.mark.parametrize("program", former_names._MOVED_PROGRAMS.values())
def test_programs_that_moved_exist(program):
    module, function = program.split(":")
    assert callable(getattr(importlib.import_module(module), function))


def test_two_processes_never_run_in_one_folder(recipe, tmp_path, capsys):
    out = tmp_path / "out"
    command = [sys.executable, "-c", LIGHT, "run", recipe, "--out", str(out), "--word", "wait"]
    process = subprocess.Popen(command, start_new_session=True)
    wait_until(lambda: (out / "log").exists() and (out / "log").read_text())
    assert main(["run", recipe, "--out", str(out), "--word", "wait"]) == 1
    assert f"process {process.pid} is working in {out}" in capsys.readouterr().err
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def test_a_damaged_record_is_an_error_of_one_line(recipe, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["run", recipe, "--out", str(out), "--to", "first"]) == 0
    path = out / "run.json"
    counts = fuzz_json(path, lambda: load_and_check(recipe, out), 60, str(out))
    assert counts["refused"] > 10


def load_and_check(recipe, out):
    _, recipe_run = cli.parse(recipe, ["--out", str(out)])
    run.RunState(recipe_run).check(recipe_run.stages)


def test_a_run_of_an_earlier_version_gets_the_present_names(tmp_path):
    """Its record, the outputs of its stages, and what later stages say of them."""
    out = tmp_path / "demo"
    (out / "lessons").mkdir(parents=True)
    (out / "judged").mkdir()
    for name in ("hello.wav", "lessons/manifest.jsonl", "judged/judged.json"):
        (out / name).write_text("kept")
    _, demo = cli.parse("mini", ["--out", str(out)])
    former = {"example": "hello", "reconstruction": "there-and-back",
              "language-corpus": "lessons", "comparison": "judged"}  # fmt: skip
    stages = {}
    for stage in demo.stages:
        text = json.dumps({**stage.record(), "finished": True, "seconds": 1.0})
        for present, old in former.items():
            text = text.replace(f"{out}/{present}", f"{out}/{old}")
        text = text.replace('"phoneme_classifier"', '"listener"')
        stages[former.get(stage.name, stage.name)] = json.loads(text)
    assert "listener" in stages["stage2"]["config"] and "lessons" in str(stages["tokens"])
    record = {"recipe": "mini", "version": almtok.__version__, "options": {}, "stages": stages}
    (out / "story.json").write_text(json.dumps(record))
    state = run.RunState(demo)
    state.check(demo.stages)  # no stage has other values
    assert state.finished(demo.stages[0])
    assert (out / "language-corpus" / "manifest.jsonl").read_text() == "kept"
    assert (out / "comparison" / "comparison.json").is_file() and (out / "example.wav").is_file()
    assert not (out / "story.json").exists() and not (out / "lessons").exists()
    assert list(json.loads((out / "run.json").read_text())["stages"]) == [
        s.name for s in demo.stages
    ]
