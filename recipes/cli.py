"""``almtok run``: run a recipe. Heavy modules are imported when it runs only."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import difflib
import importlib
import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from almtok.core.choices import add_json
from almtok.core.options import Command, given_fields
from almtok.core.printing import only_document, print_result
from almtok.core.training.config import RunConfig

from .run import RecipeOptions, RecipeRun, Stage, run_recipe

HERE = Path(__file__).parent

DESCRIPTION = """\
Run a recipe: its stages in order, each a command of almtok that can also be run alone. Without
RECIPE, list the recipes. The same command resumes a stopped run.
"""
EXAMPLES = """
almtok run
almtok run multitask --help
almtok run multitask --train speech=voices/ ... --dry-run    print its commands and check them
almtok run multitask --train ... --plan                      hours, memory, disk on this machine
almtok run multitask --train ... --lm.steps 5000             any field of a stage's configuration
almtok run multitask --train ... --from lm --to lm           some stages only
almtok run my_recipe.py                                      your own, in a file
"""


def register(commands: Any) -> None:
    """Add ``run`` to the sub-parsers of ``almtok``."""
    parser = commands.add_parser(
        "run",
        help="run a recipe, stage by stage; lists the recipes without a name",
        description=DESCRIPTION,
        examples=EXAMPLES,
    )
    add = parser.add_argument
    add("recipe", nargs="?", metavar="RECIPE", help="name of a recipe, or a Python file")
    add_json(parser)
    parser.group("options")
    add("rest", nargs=argparse.REMAINDER, metavar="...", help="options of the recipe")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run ``almtok run``."""
    if options.recipe is None:
        found = {name: _first_line(load_recipe(name)) for name in recipe_names()}
        text = "\n".join(f"{name:16} {line}" for name, line in found.items())
        rows = [{"name": name, "description": line} for name, line in found.items()]
        print_result(options, text, rows)
        return 0
    given, recipe_run = parse(options.recipe, options.rest)
    given.json |= options.json
    if given.json and not (given.plan or given.dry_run):
        raise ValueError("--json is for the list of recipes, --plan and --dry-run")
    # `--json` after the name of the recipe was unknown to the command.
    with only_document() if given.json and not options.json else contextlib.nullcontext():
        return _run(given, recipe_run)


def _run(given: argparse.Namespace, recipe_run: RecipeRun) -> int:
    stages = recipe_run.between(given.first, given.last)
    from .checks import check_run

    if given.plan:
        from .planning import plan, plan_table

        check_run(recipe_run, stages, online=False)
        costs = plan(recipe_run, stages, given.probe_seconds)
        print_result(given, plan_table(recipe_run, costs), costs)
        return int(any(isinstance(cost, str) for cost in costs.values()))

    def check(run: RecipeRun, waiting: Sequence[Stage]) -> None:
        check_run(run, waiting, write=True)

    if given.dry_run:
        commands = list(recipe_run.as_shell(stages))
        print("\n".join(commands), file=sys.stderr if given.json else None, flush=True)
        check_run(recipe_run, stages)
        if given.json:
            print_result(given, "", commands)
        return 0
    return run_recipe(recipe_run, given.first, given.last, given.again, check)


def recipe_names() -> list[str]:
    """Return the names of the recipes: NAME.py or NAME/recipe.py in this package."""
    return sorted(_modules())


def _modules() -> dict[str, str]:
    """Modules of the recipes by name: the files that have stages."""
    files = {file.stem: file for file in HERE.glob("*.py")}
    files |= {file.parent.name: file for file in HERE.glob("*/recipe.py")}
    return {
        name: ".".join(("almtok.recipes", *file.relative_to(HERE).with_suffix("").parts))
        for name, file in files.items()
        if "\ndef stages(" in file.read_text("utf-8")
    }


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
        module = importlib.import_module(_modules()[name])
    else:
        raise ValueError(f"unknown recipe {name!r}{_nearest(name, recipe_names())}")
    for needed in ("Options", "stages"):
        if not hasattr(module, needed):
            raise ValueError(f"{name} is no recipe: it has no {needed}, see docs/recipes.md")
    return module


def parse(name: str, words: Sequence[str]) -> tuple[argparse.Namespace, RecipeRun]:
    """Parse the command line of a recipe; an unknown option ends the process, as in all commands.

    Raises:
        ValueError: a value is wrong.
    """
    module = load_recipe(name)
    short = Path(name).stem
    parser = _parser(module, short)
    given, rest = parser.parse_known_args(list(words))
    # An unknown option is reported before a missing source; those of stages are known later.
    parser.refuse_unknown([word for word in rest if "." not in word.split("=")[0]])
    asked = given_fields(given, module.Options)
    options: RecipeOptions = module.Options(**{"out": f"runs/{short}", **asked})
    stages = tuple(module.stages(options))
    changes = _changes(parser, stages, words)
    changed = tuple(_changed(stage, changes.get(stage.name, {})) for stage in stages)
    return given, RecipeRun(short, options, changed)


def _parser(module: ModuleType, name: str) -> Command:
    parser = Command(
        prog=f"almtok run {name}",
        description=module.__doc__,
        examples=f"almtok run {name} {getattr(module, 'EXAMPLE', '--dry-run')}",
        notes="Any field of a stage's configuration is an option too: --STAGE.FIELD VALUE.",
        strict=False,
    )
    parser.group("recipe")
    parser.add_fields(module.Options)
    parser.group("stages")
    add = parser.add_argument
    add("--dry-run", action="store_true", help="print the commands, check what they need, and exit")
    add("--plan", action="store_true", help="try each training briefly; print time, memory, disk")
    add("--json", action="store_true", help="print both as one JSON document", advanced=True)
    text = "seconds per training for --plan"
    add("--probe-seconds", default=20.0, metavar="S", help=text, advanced=True)
    add("--from", dest="first", metavar="STAGE", help="first stage to run")
    add("--to", dest="last", metavar="STAGE", help="last stage to run")
    add("--again", nargs="+", default=[], metavar="STAGE", help="run these finished stages again")
    return parser


def _changes(
    parser: Command, stages: Sequence[Stage], words: Sequence[str]
) -> dict[str, dict[str, Any]]:
    """Parse ``--STAGE.FIELD VALUE``: new values by stage and field."""
    for stage in stages:
        if stage.config is not None:
            parser.add_fields(type(stage.config), prefix=f"{stage.name}.")
    parser.refuse_unknown(words)
    changes: dict[str, dict[str, Any]] = {}
    for name, value in vars(parser.parse_args(list(words))).items():
        stage_name, dot, field_name = name.partition(".")
        if dot:
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
