"""Exit statuses and --json of all commands."""

import json
import os
import subprocess

import pytest

from almtok.__main__ import main

from .test_cli import COMMANDS, GROUPS

# Commands whose result is a run folder, a server or a script.
WITHOUT_JSON = {
    ("demo",), ("codec", "train"), ("lm", "train"), ("lm", "finetune"), ("serve",), ("ui",),
    ("completion",),
}  # fmt: skip
LEAVES = sorted(words for words in COMMANDS if words not in {(), *GROUPS})

# A wrong value of each command that needs no model: words, and a part of the message.
MISTAKES = {
    ("asr",): ("gone.wav --checkpoint gone", "gone"),
    ("caption",): ("gone.wav --checkpoint gone", "gone"),
    ("codec", "evaluate"): ("--data speech=gone --out o", "expected --checkpoint or --peers"),
    ("codec", "phonemes"): ("--data speech=gone --out o.safetensors", "gone"),
    ("codec", "plan"): ("huge", "CODEC must be a preset"),
    ("codec", "postfilter"): ("gone --out o", "gone"),
    ("codec", "predictability"): ("--data gone --out o", "expected --checkpoint or --peers"),
    ("codec", "prior"): ("--seed 1", "expected --data and --out"),
    ("codec", "probe"): ("--data gone --out o", "got none"),
    ("compare",): ("gone --to mini/stage2", "gone is no run folder"),
    ("continue",): ("gone.wav --out o.wav --checkpoint gone", "gone"),
    ("decode",): ("gone.safetensors --out o", "gone.safetensors"),
    ("encode",): ("gone.wav --out o", "gone.wav"),
    ("lm", "tokenize"): ("--out o", "give at least one source"),
    ("run",): ("gone", "unknown recipe 'gone'"),
    ("sound",): ("hi", "--out is missing"),
    ("music",): ("hi", "--out is missing"),
    ("synthesize",): ("--model espeak --hours 0 --out o", "--hours must be above 0"),
    ("tts",): ("hi", "--out is missing"),
}


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("words", LEAVES, ids=" ".join)
def test_an_unknown_option_is_a_wrong_usage(words, capsys):
    with pytest.raises(SystemExit) as stop:
        main([*words, "--no-such-option"] if words != ("run",) else ["run", "mini", "--no-such"])
    shown = capsys.readouterr()
    assert stop.value.code == 2 and not shown.out
    assert shown.err.startswith("usage: almtok ") and "unknown option --no-such" in shown.err


def test_an_unknown_level_is_a_wrong_usage(capsys):
    assert main(["run", "--log-level", "loud"]) == 2
    assert capsys.readouterr().err.startswith("almtok: error: --log-level must be one of debug,")


@pytest.mark.parametrize("words", sorted(MISTAKES), ids=" ".join)
def test_a_mistake_is_one_line_and_status_1(words, capsys):
    given, message = MISTAKES[words]
    as_json = [] if words == ("run",) else ["--json"]
    assert main([*words, *given.split(), *as_json, "-q"]) == 1
    shown = capsys.readouterr()
    assert not shown.out
    (line,) = shown.err.splitlines()
    assert line.startswith("almtok: error: ") and message in line


@pytest.mark.parametrize("words", LEAVES, ids=" ".join)
def test_commands_that_print_results_have_json(words):
    has = "--json" in COMMANDS[words].flags
    assert has == (words not in WITHOUT_JSON)


@pytest.mark.parametrize(
    ("words", "keys"),
    [
        ("run --json", {"name", "description"}),
        ("codec plan tiny --json", {"name", "query_rate", "parameters"}),
    ],
)
def test_a_document_alone_is_on_standard_output(words, keys, capsys):
    assert main(words.split()) == 0
    for row in json.loads(capsys.readouterr().out):
        assert keys <= set(row)


def test_a_dry_run_lists_its_commands(capsys):
    main(["run", "mini", "--dry-run", "--json"])
    commands = json.loads(capsys.readouterr().out)
    assert any("almtok codec train" in command for command in commands)
    assert main(["run", "mini", "--json"]) == 1
    assert "--json is for the list of recipes" in capsys.readouterr().err


def test_audio_and_json_do_not_share_standard_output(capsys):
    assert main(["tts", "hi", "--out", "-", "--json"]) == 1
    assert main(["tts", "hi", "--stream", "--json"]) == 1
    shown = capsys.readouterr()
    assert not shown.out
    assert "--out - and --json" in shown.err
    assert "omit --out, --check, --timestamps and --json" in shown.err


def test_a_reader_that_is_gone_is_status_141(quiet_environment, python):
    reading, writing = os.pipe()
    os.close(reading)
    command = [python, "-m", "almtok", "run"]
    process = subprocess.Popen(
        command, stdout=writing, stderr=subprocess.PIPE, env=quiet_environment
    )
    os.close(writing)
    assert (process.communicate()[1], process.returncode) == (b"", 141)


def test_ctrl_c_is_status_130(quiet_environment, tmp_path, python):
    recipe = tmp_path / "stopped.py"
    recipe.write_text("import os, signal\nos.kill(os.getpid(), signal.SIGINT)\n")
    command = [python, "-m", "almtok", "run", str(recipe)]
    result = subprocess.run(command, capture_output=True, text=True, env=quiet_environment)
    assert (result.stderr, result.returncode) == ("\nalmtok: stopped\n", 130)
