"""How options are declared and shown, and what is said of those that do not exist."""

import dataclasses
from typing import Any, Literal

import pytest

from almtok.core.options import Command, advanced, file_only, given_fields, option


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    steps: int = option(10, "training steps", group="run")
    rate: float | None = advanced(None, "learning rate; 0: off, at most 5 %")
    names: list[str] = option([], "names", metavar="WORD", group="data")
    mixed: bool = option(True, "mix the data")
    kind: Literal["a", "b"] = option("a", "kind of data")
    model: dict[str, Any] = advanced({}, "fields of the model")
    betas: list[float] = file_only([0.9, 0.95], "betas of Adam")


HELP = """\
usage: fly PLACE [options]

Fly.

example:
  fly to town --steps 3

options:
  PLACE             where to

run:
  --steps N         training steps (default: 10)
  --height X        height in km (default: 2.5)
  --speed SPEED     speed (slow, fast; default: slow)

data:
  --names WORD ...  names
  --[no-]mixed      mix the data (default: on)
  --kind KIND       kind of data (a, b; default: a)

'fly --help-all' explains 2 more options.
"""


def make(**given: Any) -> Command:
    parser = Command(prog="fly", description="Fly.", examples="fly to town --steps 3", **given)
    parser.add_argument("place", metavar="PLACE", help="where to")
    parser.add_fields(Settings)
    parser.group("run")
    parser.add_argument("--height", default=2.5, help="height in km")
    parser.add_argument("--speed", choices=("slow", "fast"), default="slow", help="speed")
    return parser


def refusal(parser: Command, *words: str, capsys: Any) -> str:
    with pytest.raises(SystemExit) as stop:
        parser.parse_args(words)
    assert stop.value.code == 2
    usage, error = capsys.readouterr().err.splitlines()
    assert usage == "usage: fly PLACE [options]"
    return str(error)


def test_help_shows_common_options_in_groups_and_help_all_every_one(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "100")
    parser = make(notes="It is a long way.")
    assert parser.format_help() == HELP
    with pytest.raises(SystemExit) as stop:
        parser.parse_args(["--help-all"])
    assert not stop.value.code
    shown = capsys.readouterr().out
    assert "It is a long way." in shown and "betas" not in shown
    assert "--rate X          learning rate; 0: off, at most 5 %\n" in shown
    assert "--model JSON" in shown and "more option" not in shown


def test_values_that_are_not_given_are_left_to_the_dataclass():
    given = make().parse_args(["town", "--names", "a", "b", "--no-mixed", "--model", '{"x": 1}'])
    assert given_fields(given, Settings) == {
        "names": ["a", "b"], "mixed": False, "model": {"x": 1}
    }  # fmt: skip
    assert (given.height, given.speed) == (2.5, "slow")
    assert make().parse_args(["town", "--height", "3"]).height == 3.0


def test_an_unknown_option_names_the_nearest_or_the_file(capsys):
    for word, hint in (
        ("--stpes", "; did you mean --steps?"),
        ("--rte=3", "; did you mean --rate?"),
        ("--mod", "; did you mean --model?"),
        ("--xyzzy", "; see fly --help-all"),
        ("--betas", ": set 'betas' in a JSON file and give that to --config"),
    ):
        error = refusal(make(), "town", word, capsys=capsys)
        assert error == f"fly: error: unknown option {word.split('=')[0]}{hint}"
    # Reported before the missing argument, which may be what was meant.
    assert "unknown option --stpes" in refusal(make(), "--stpes", "3", capsys=capsys)


def test_a_text_may_look_like_an_option():
    assert make().parse_args(["-- said he"]).place == "-- said he"
    assert make().parse_args(["--", "--stpes"]).place == "--stpes"


def test_a_parser_that_is_not_strict_leaves_unknown_options_to_its_caller():
    _, rest = make(strict=False).parse_known_args(["town", "--lm.steps", "3"])
    assert rest == ["--lm.steps", "3"]


def test_defaults_and_prefixes_of_a_stage():
    parser = Command(prog="fly")
    parser.add_fields(Settings, prefix="lm.", defaults={"steps": 7})
    assert "--lm.steps N" in parser.format_help() and "default: 7" in parser.format_help()
    given = vars(parser.parse_args(["--lm.betas", "0.8", "0.9", "--lm.no-mixed"]))
    assert given == {"lm.betas": [0.8, 0.9], "lm.mixed": False}


def test_usage_of_a_group_of_commands():
    parser = Command(prog="fly")
    parser.add_subparsers(required=True).add_parser("up")
    assert parser.format_usage() == "usage: fly COMMAND [options]\n"


@pytest.mark.parametrize("value", ["nan", "inf", "-1e999", "much"])
def test_numbers_are_finite(value, capsys):
    parser = Command()
    parser.add_argument("--given", type=float, help="a number")
    parser.add_argument("--known", default=1.0, help="a number by its default")
    assert parser.parse_args(["--given", "2.5"]).given == 2.5
    for flag in ("--given", "--known"):
        with pytest.raises(SystemExit):
            parser.parse_args([f"{flag}={value}"])
        assert f"argument {flag}: expected a finite number, got {value}" in capsys.readouterr().err


def test_a_wrong_json_object_is_one_line(capsys):
    for text, reason in (("[1]", "expected a JSON object, got [1]"), ("{", "not valid JSON")):
        assert reason in refusal(make(), "town", "--model", text, capsys=capsys)
