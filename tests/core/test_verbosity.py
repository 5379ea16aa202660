"""What -q, -v and --log-level show on standard error."""

import logging
import os
import sys

import pytest
from tqdm import tqdm
from tqdm.auto import tqdm as auto_tqdm

from almtok.core.verbosity import VARIABLE, shown_log, take_level

OURS, OTHER = logging.getLogger("almtok.test"), logging.getLogger("other")


@pytest.mark.parametrize(
    ("words", "level", "rest"),
    [
        ("tts hello", "info", "tts hello"),
        ("-q tts hello", "warning", "tts hello"),
        ("tts hello --quiet", "warning", "tts hello"),
        ("tts -q hello -v", "debug", "tts hello"),
        ("tts --log-level error hello", "error", "tts hello"),
        ("tts hello --log-level=debug", "debug", "tts hello"),
        ("tts -- -q --verbose", "info", "tts -- -q --verbose"),
    ],
)
def test_options_are_taken_at_any_position(monkeypatch, words, level, rest):
    monkeypatch.delenv(VARIABLE, raising=False)
    assert take_level(words.split()) == (level, rest.split())


def test_a_variable_is_the_default(monkeypatch):
    monkeypatch.setenv(VARIABLE, "error")
    assert take_level(["doctor"])[0] == "error"
    assert take_level(["doctor", "-v"])[0] == "debug"


@pytest.mark.parametrize("words", [["--log-level", "loud"], ["--log-level"], ["--log-level="]])
def test_other_levels_are_refused(words):
    with pytest.raises(ValueError, match="one of debug, info, warning, error, got "):
        take_level(words)


@pytest.mark.parametrize(
    ("level", "shown"),
    [
        ("debug", "almtok.test: fine|almtok.test: note|other: note|almtok.test: bad"),
        ("info", "note|bad"),
        ("warning", "bad"),
        ("error", ""),
    ],
)
def test_a_level_shows_what_is_as_important(capsys, level, shown):
    with shown_log("almtok", level):
        assert os.environ[VARIABLE] == level  # of processes that a command starts
        OURS.debug("fine")
        OURS.info("note")
        OTHER.debug("fine")
        OTHER.info("note")
        OURS.warning("bad")
    OURS.warning("afterwards")
    assert "|".join(capsys.readouterr().err.splitlines()) == shown


@pytest.mark.parametrize(("level", "bars"), [("info", True), ("warning", False)])
def test_bars_of_every_library_are_off_when_quiet(capsys, level, bars):
    with shown_log("almtok", level):
        for kind in (tqdm, auto_tqdm):
            with kind(total=2, desc="work", disable=False, file=sys.stderr) as bar:
                bar.update(2)
    assert ("work" in capsys.readouterr().err) == bars
    assert not tqdm(total=1, file=sys.stderr).disable


def test_a_line_does_not_break_a_bar(capsys):
    with shown_log("almtok", "info"), tqdm(total=2, desc="work", file=sys.stderr) as bar:
        bar.update(1)
        OURS.info("note")
    assert "\nnote\n" in capsys.readouterr().err.replace("\r", "\n")
