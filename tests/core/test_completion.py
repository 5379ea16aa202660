"""Completion in real shells; bash has no PATH, so a press of TAB starts no program."""

import contextlib
import io
import shutil
import subprocess

import pytest

from almtok.__main__ import main

pytest.importorskip("shtab")

# Calls the function that bash calls at TAB, with the words of a command line.
BASH = """
PATH=
source {script}
COMP_WORDS=({words} '{last}')
COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
_shtab_almtok almtok '{last}' "${{COMP_WORDS[COMP_CWORD - 1]}}"
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
FISH = "source {script}; complete -C '{words} {last}'"
# Ends with the function that zsh has for almtok.
ZSH = 'autoload -U compinit; compinit -D -u; eval "$(cat {script})"; print ${{_comps[almtok]}}'
CASES = [
    ("almtok", "co", {"codec", "compare", "completion", "continue"}),
    ("almtok codec", "pl", {"plan"}),
    ("almtok codec plan", "--js", {"--json"}),
    ("almtok sound bark --format", "f", {"flac"}),
    ("almtok completion", "", {"bash", "zsh", "fish"}),
]


@pytest.fixture(scope="module")
def script(tmp_path_factory):
    """Write the script of a shell, if this machine has the shell."""

    def write(shell):
        if shutil.which(shell) is None:
            pytest.skip(f"no {shell}")
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            assert main(["completion", shell]) == 0
        path = tmp_path_factory.mktemp(shell) / "script"
        path.write_text(printed.getvalue())
        return path

    return write


def shown(shell: str, code: str) -> list[str]:
    command = [str(shutil.which(shell)), *(["-f"] if shell == "zsh" else []), "-c", code]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0 and not result.stderr, result.stderr
    return [line for line in result.stdout.splitlines() if line]


@pytest.mark.parametrize(("shell", "code"), [("bash", BASH), ("fish", FISH)])
def test_commands_options_and_values_are_completed(script, shell, code):
    path = script(shell)
    for words, last, expected in CASES:
        lines = shown(shell, code.format(script=path, words=words, last=last))
        assert {line.split("\t")[0] for line in lines} == expected, (words, last)


@pytest.mark.parametrize(("shell", "code"), [("bash", BASH), ("fish", FISH)])
def test_files_are_completed(script, shell, code, tmp_path):
    (tmp_path / "talk.wav").touch()
    path = script(shell)
    for words in ("almtok asr", "almtok codec postfilter", "almtok doctor --disk", "almtok ui"):
        lines = shown(shell, code.format(script=path, words=words, last=f"{tmp_path}/t"))
        assert [line.split("\t")[0] for line in lines] == [f"{tmp_path}/talk.wav"], words


def test_zsh_loads_the_script(script):
    assert shown("zsh", ZSH.format(script=script("zsh"))) == ["_shtab_almtok"]
