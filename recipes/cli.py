"""``almtok run``: run a recipe. Heavy modules are imported when it runs only."""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import importlib
import importlib.util
import typing
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from almtok.core.training.cli import add_flag
from almtok.core.training.config import RunConfig

from .run import RecipeOptions, RecipeRun, Stage, run_recipe

HERE = Path(__file__).parent

DESCRIPTION = """\
Run a recipe: its stages in order, each a command of almtok that can also be run alone.

Without a recipe, the recipes are listed. 'almtok run RECIPE --help' shows what one can be asked.
Stopped at any moment, the same command goes on.
"""

EPILOG = """\
examples:
  almtok run                                             which recipes there are
  almtok run multitask --help                            what one can be asked
  almtok run multitask --train speech=voices/ ... --dry-run      its commands, without running them
  almtok run multitask --train ... --plan                hours, memory and disk on this machine
  almtok run multitask --train ... --lm.steps 5000       any field of a stage's configuration
  almtok run multitask --train ... --from lm --to lm     some stages only
  almtok run my_recipe.py                                your own, in a file
"""


def register(commands: Any) -> None:
    """Add ``run`` to the sub-parsers of ``almtok``."""
    parser = commands.add_parser(
        "run",
        help="run a recipe, stage by stage; lists the recipes without a name",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("recipe", nargs="?", metavar="RECIPE", help="its name, or a Python file")
    parser.add_argument("rest", nargs=argparse.REMAINDER, metavar="...", help="its own options")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run ``almtok run``."""
    if options.recipe is None:
        for name in recipe_names():
            print(f"{name:16} {_first_line(load_recipe(name))}")
        return 0
    given, recipe_run = parse(options.recipe, options.rest)
    stages = recipe_run.between(given.first, given.last)
    if given.plan:
        from .planning import plan, plan_table

        print(plan_table(recipe_run, plan(recipe_run, stages, given.probe_seconds)))
        return 0
    if given.dry_run:
        print("\n".join(recipe_run.as_shell(stages)))
        return 0
    return run_recipe(recipe_run, given.first, given.last, given.again)


def recipe_names() -> list[str]:
    """Return the names of the recipes: folders of this package whose recipe.py has stages."""
    files = sorted(HERE.glob("*/recipe.py"))
    return [file.parent.name for file in files if "def stages(" in file.read_text("utf-8")]


def load_recipe(name: str) -> ModuleType:
    """Import the module of a recipe, by its name or its file.

    Raises:
        ValueError: there is no such recipe, or the file defines no `Options` or `stages`.
    """
    if name.endswith(".py"):
        if not Path(name).is_file():
            raise ValueError(f"no recipe in {name}: there is no such file")
        spec = importlib.util.spec_from_file_location(Path(name).stem, name)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    elif name in recipe_names():
        module = importlib.import_module(f"almtok.recipes.{name}.recipe")
    else:
        raise ValueError(f"unknown recipe {name!r}{_nearest(name, recipe_names())}")
    for needed in ("Options", "stages"):
        if not hasattr(module, needed):
            raise ValueError(f"{name} is no recipe: it has no {needed}, see docs/recipes.md")
    return module


def parse(name: str, words: Sequence[str]) -> tuple[argparse.Namespace, RecipeRun]:
    """Parse the command line of a recipe.

    Raises:
        ValueError: neither the recipe nor one of its stages has such an option.
    """
    module = load_recipe(name)
    short = Path(name).stem
    parser = _parser(module, short)
    given, rest = parser.parse_known_args(list(words))
    names = [field.name for field in dataclasses.fields(module.Options)]
    flags = [f"--{key.replace('_', '-')}" for key in names]
    for word in rest:
        if word.startswith("-") and "." not in word:  # before a missing source is reported
            raise ValueError(f"unknown option {word}{_nearest(word, flags)}")
    asked = {key: value for key, value in vars(given).items() if key in names}
    options: RecipeOptions = module.Options(**{"out": f"runs/{short}", **asked})
    stages = tuple(module.stages(options))
    changes = _changes(stages, rest, flags)
    changed = tuple(_changed(stage, changes.get(stage.name, {})) for stage in stages)
    return given, RecipeRun(short, options, changed)


def _parser(module: ModuleType, name: str) -> argparse.ArgumentParser:
    stages = "any field of a stage's configuration is an option too: --STAGE.FIELD VALUE"
    parser = argparse.ArgumentParser(
        prog=f"almtok run {name}",
        description=module.__doc__,
        epilog=stages,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    hints = typing.get_type_hints(module.Options)
    for field in dataclasses.fields(module.Options):
        add_flag(parser, field, hints[field.name])
    parser.add_argument("--dry-run", action="store_true", help="print the commands, run nothing")
    parser.add_argument(
        "--plan", action="store_true", help="what it costs here: each training is tried shortly"
    )
    parser.add_argument("--probe-seconds", type=float, default=20.0, metavar="S", help="for --plan")
    parser.add_argument("--from", dest="first", metavar="STAGE", help="begin with this stage")
    parser.add_argument("--to", dest="last", metavar="STAGE", help="end with this stage")
    parser.add_argument(
        "--again", nargs="+", default=[], metavar="STAGE", help="do these anew, though done before"
    )
    return parser


def _changes(
    stages: Sequence[Stage], words: Sequence[str], known: Sequence[str]
) -> dict[str, dict[str, Any]]:
    """Parse ``--STAGE.FIELD VALUE``: new values by stage and field."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    flags = list(known)
    for stage in stages:
        if stage.config is None:
            continue
        hints = typing.get_type_hints(type(stage.config))
        for field in dataclasses.fields(stage.config):
            add_flag(parser, field, hints[field.name], prefix=f"{stage.name}.")
            flags.append(f"--{stage.name}.{field.name.replace('_', '-')}")
    given, rest = parser.parse_known_args(list(words))
    for word in rest:
        if word.startswith("-"):
            raise ValueError(f"unknown option {word}{_nearest(word.split('=')[0], flags)}")
    if rest:
        raise ValueError(f"unexpected words after the options: {' '.join(rest)}")
    changes: dict[str, dict[str, Any]] = {}
    for name, value in vars(given).items():
        stage_name, field_name = name.split(".", 1)
        changes.setdefault(stage_name, {})[field_name] = value
    return changes


def _changed(stage: Stage, changes: dict[str, Any]) -> Stage:
    if not changes:
        return stage
    assert isinstance(stage.config, RunConfig)
    config = type(stage.config).from_dict({**stage.config.to_dict(), **changes})
    return dataclasses.replace(stage, config=config)


def _nearest(word: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(word, known, n=1)
    return f"; did you mean {near[0]}?" if near else f"; there are {', '.join(known[:20])}"


def _first_line(module: ModuleType) -> str:
    return (module.__doc__ or "").strip().splitlines()[0]
