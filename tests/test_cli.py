"""The command line as a person meets it: its words and exit statuses, of real processes or here."""

import argparse
import json
import re
import shlex
import subprocess
import sys

import numpy as np
import pytest
import soundfile

from almtok.__main__ import build_parser, main
from almtok.core.options import Command
from almtok.recipes.cli import parse as parse_recipe
from almtok.recipes.cli import recipe_names

# One screen of `--help`, in lines of 100 columns.
SCREEN = 45


def commands(parser: Command, words: tuple[str, ...] = ()) -> dict[tuple[str, ...], Command]:
    """All commands and groups of commands below a parser, by their words."""
    inner = [one for one in parser._actions if isinstance(one, argparse._SubParsersAction)]
    found = {words: parser}
    for action in inner:
        for name, child in action.choices.items():
            found |= commands(child, (*words, name))
    return found


COMMANDS = commands(build_parser())
GROUPS = ("codec",), ("lm",), ("lm", "adapters")


@pytest.fixture
def here(tmp_path, monkeypatch, capfd):
    """Run ``almtok`` in this process, in an empty folder: torch is loaded once."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str, check: bool = False) -> subprocess.CompletedProcess:
        words = list(map(str, arguments))
        status = main(words)
        result = subprocess.CompletedProcess(words, status, *capfd.readouterr())
        assert not check or status == 0, result.stderr
        return result

    return run


@pytest.fixture
def almtok(quiet_environment, tmp_path, python):
    """Start ``almtok`` in an empty folder and wait for it."""

    def run(*arguments: str, check: bool = False) -> subprocess.CompletedProcess:
        result = subprocess.run(
            [python, "-m", "almtok", *map(str, arguments)],
            capture_output=True,
            text=True,
            env=quiet_environment,
            cwd=tmp_path,
        )
        assert not check or result.returncode == 0, result.stderr
        return result

    return run


def test_commands_are_found():
    assert {(), ("tts",), ("codec", "train"), ("lm", "evaluate")} < set(COMMANDS)


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_help_of_a_command_fits_one_screen(words, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    with pytest.raises(SystemExit) as stop:
        main([*words, "--help"])
    assert not stop.value.code
    output = capsys.readouterr().out
    assert output.startswith(" ".join(["usage: almtok", *words]))
    assert len(output.splitlines()) <= SCREEN
    assert max(map(len, output.splitlines())) <= 100
    if words not in GROUPS:
        assert f"  {' '.join(['almtok', *words]).strip()}" in output.split("example")[1]


@pytest.mark.parametrize("recipe", recipe_names())
def test_help_of_a_recipe_fits_one_screen(recipe, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    with pytest.raises(SystemExit):
        main(["run", recipe, "--help"])
    output = capsys.readouterr().out
    assert len(output.splitlines()) <= SCREEN
    (example,) = re.findall(r"^example:\n  almtok run (.*)$", output, re.MULTILINE)
    name, *options = shlex.split(example)
    _, planned = parse_recipe(name, options)
    assert name == recipe and planned.stages


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_option_has_help_that_help_all_shows(words):
    parser = COMMANDS[words]
    shown = parser.format_help(everything=True)
    for action in parser._actions:
        if action.help != argparse.SUPPRESS and not isinstance(action, argparse._SubParsersAction):
            assert len(action.help.split()) > 1, action.option_strings
            for flag in action.option_strings[:1]:
                forms = (flag, flag.replace("--", "--[no-]", 1))
                assert any(f"{form}{end}" in shown for form in forms for end in " ,")


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_examples_of_a_command_parse(words, capsys):
    lines = re.sub(r"\\\n *", "", COMMANDS[words].examples).splitlines()
    for line in lines:
        line = line.split("almtok ", 1)[-1].split(" | ")[0].split("   ")[0]
        if not line.startswith(">>>") and "..." not in line and "--help" not in line:
            build_parser().parse_args(shlex.split(line))


def test_help_loads_nothing_but_our_own_and_so_answers_at_once(quiet_environment, tmp_path):
    """0.3 s; torch alone would add more than a second, transformers three."""
    code = (
        "import json, sys\n"
        "begun = set(sys.modules)\n"
        "from almtok.__main__ import main\n"
        "for words in json.loads(sys.argv[1]):\n"
        "    try: main([*words, '--help'])\n"
        "    except SystemExit as stop: assert not stop.code, words\n"
        "loaded = {name.split('.')[0] for name in set(sys.modules) - begun}\n"
        "print('OTHERS', sorted(loaded - {'almtok', '__mp_main__', *sys.stdlib_module_names}))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, json.dumps([list(words) for words in COMMANDS])],
        capture_output=True,
        text=True,
        env=quiet_environment,
        cwd=tmp_path,
    )
    assert result.stdout.splitlines()[-1:] == ["OTHERS []"], result.stdout[-500:] + result.stderr


def test_version(almtok):
    import almtok as package

    assert almtok("--version", check=True).stdout.strip() == f"almtok {package.__version__}"


def test_no_command_and_unknown_commands_are_usage_errors(almtok):
    for arguments in (
        [],
        ["fly"],
        ["codec", "fly"],
        ["codec", "plan", "--fly"],
        ["tts", "a", "--fly"],
    ):
        result = almtok(*arguments)
        assert result.returncode == 2
        assert "usage: almtok" in result.stderr
        assert "Traceback" not in result.stderr


def test_a_mistake_is_one_line_and_a_traceback_only_when_asked(almtok, here):
    result = here("codec", "plan", "huge")
    assert result.returncode == 1
    assert result.stderr.splitlines() == [
        "almtok: error: CODEC must be a preset (tiny, mini, base, paper) or a checkpoint folder,"
        " got 'huge' (the cost of a recipe: almtok run huge --plan)"
    ]
    asked = almtok("codec", "plan", "huge", "--traceback")
    assert asked.returncode == 1
    assert "Traceback" in asked.stderr
    assert "ValueError" in asked.stderr


def test_a_missing_file_is_named(almtok):
    result = almtok("decode", "nothing.safetensors", "--checkpoint", "nowhere", "--out", "wavs")
    assert result.returncode == 1
    assert result.stderr.strip() == "almtok: error: no such file or folder: nothing.safetensors"


def test_plan_prints_every_preset(here):
    output = here("codec", "plan", check=True).stdout
    rows = {line.split()[0]: line for line in output.splitlines() if line.strip()}
    assert {"tiny", "mini", "base", "paper"} <= set(rows)
    assert "0.4125" in rows["mini"]
    assert "37.5" in rows["mini"]


def test_plan_as_json_agrees_with_the_model(here):
    from almtok import ALMTokenizer, ALMTokenizerConfig

    rows = json.loads(
        here("codec", "plan", "tiny", "--frames-per-query", "3", "6", "--json").stdout
    )
    assert [row["query_rate"] for row in rows] == [25.0, 12.5]
    model = ALMTokenizer(ALMTokenizerConfig.preset("tiny"))
    weights = sum(parameter.numel() for parameter in model.parameters())
    assert weights <= sum(rows[0]["parameters"].values()) < 1.5 * weights
    assert rows[0]["flops"]["encoder"] > rows[1]["flops"]["encoder"] > 0
    assert rows[0]["flops"]["patchify"] == pytest.approx(rows[1]["flops"]["patchify"], rel=1e-2)


@pytest.mark.slow
def test_encode_then_decode(here, tmp_path):
    from almtok import ALMTokenizer, ALMTokenizerConfig

    codec = tmp_path / "codec"
    ALMTokenizer(ALMTokenizerConfig.preset("tiny")).save_pretrained(codec)
    talk = tmp_path / "in" / "talk.wav"
    talk.parent.mkdir()
    time_axis = np.arange(11_111) / 16_000
    soundfile.write(talk, 0.3 * np.sin(2 * np.pi * 220 * time_axis), 16_000)

    encoded = here("encode", "in", "--checkpoint", codec, "--out", "tokens", check=True)
    assert "1 token files in tokens" in encoded.stdout
    here("decode", "tokens", "--checkpoint", codec, "--out", "out", "--format", "flac", check=True)
    wav, sample_rate = soundfile.read(tmp_path / "out" / "talk.flac")
    assert sample_rate == 24_000
    assert len(wav) == pytest.approx(11_111 * 24_000 / 16_000, abs=2)

    other = tmp_path / "other"
    ALMTokenizer(ALMTokenizerConfig.preset("tiny", frames_per_query=5)).save_pretrained(other)
    refused = here("decode", "tokens", "--checkpoint", other, "--out", "out")
    assert refused.returncode == 1
    assert refused.stderr.splitlines()[-1].startswith("almtok: error: tokens must be of codec")
    assert "Traceback" not in refused.stderr and "Loading" not in refused.stderr


def test_two_inputs_of_one_name_are_refused(almtok, tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        soundfile.write(tmp_path / folder / "talk.wav", np.zeros(100), 24_000)
    result = almtok("encode", "a", "b", "--checkpoint", "nowhere", "--out", "tokens")
    assert result.returncode == 1
    assert "would both be written as 'talk'" in result.stderr
