"""Recipe runs: stages in order, each a command in its own process, and which of them are done.

Every command is printed before it runs and can be run alone. ``OUT/run.json`` records the
finished stages and their commands and configurations, so that the same call resumes the run and
another one is refused instead of mixing two runs in one folder.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import shlex
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from almtok import __version__
from almtok.core.choices import AUTO, DEVICE_HELP, check_device_name
from almtok.core.files import lock_run_dir, write_json
from almtok.core.options import option
from almtok.core.reading import field, read_json_object, reading
from almtok.core.training.config import RunConfig

from .former_names import FORMER_RECORD, RECORD, present_names, present_stages, record_file
from .stage_process import run_process

LOCK_FILE = ".recipe-lock"  # a stage may train in the same folder and lock it
# Commands with an option `--device`.
DEVICE_COMMANDS = (
    *(("encode",), ("decode",), ("codec", "prior"), ("lm", "tokenize")),
    *(("tts",), ("asr",), ("sound",), ("music",), ("caption",), ("continue",)),
    *(("codec", "evaluate"), ("lm", "evaluate"), ("codec", "word-errors")),
    *(("codec", "probe"), ("codec", "predictability")),
)


@dataclass(frozen=True, kw_only=True)
class RecipeOptions:
    """Options of every recipe; each recipe adds its own fields with :func:`option`."""

    out: str = option("", "output folder (default: runs/RECIPE)", metavar="DIR")
    device: str = option(AUTO, DEVICE_HELP)

    def sources_by_part(self) -> dict[str, list[str]]:
        """Return the audio sources of all options whose values are called SOURCE, by option."""
        fields = dataclasses.fields(self)
        named = [one.name for one in fields if one.metadata.get("metavar") == "SOURCE"]
        return {name: getattr(self, name) for name in named if getattr(self, name)}


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One step of a recipe."""

    name: str
    what: str  # one line that is printed
    command: tuple[str, ...]  # arguments of `almtok`, or of the program below
    # Written to OUT/NAME.json and passed as `--config`.
    config: RunConfig | None = None
    program: str = "almtok"  # or "package.module:function", a function that reads sys.argv
    program_takes_device: bool = False  # of another program: whether it has `--device`
    device: str = AUTO

    @property
    def takes_device(self) -> bool:
        """Whether the command has an option `--device`."""
        if self.program != "almtok":
            return self.program_takes_device
        return any(self.command[: len(prefix)] == prefix for prefix in DEVICE_COMMANDS)

    def on(self, device: str) -> Stage:
        """Return this stage for a device. A device in its configuration takes precedence."""
        if self.config is not None and getattr(self.config, "device", None) == AUTO:
            config: Any = self.config
            return dataclasses.replace(self, config=dataclasses.replace(config, device=device))
        return dataclasses.replace(self, device=device) if self.takes_device else self

    def argv(self, out: Path) -> list[str]:
        """The command line."""
        start = ["almtok"]
        if self.program != "almtok":
            module, function = self.program.split(":")
            start = ["python", "-c", f"from {module} import {function}; {function}()"]
        config = []
        if self.config is not None:
            config = ["--config", str(self.config_file(out)), *self.config.code_flags()]
        device = [] if self.device == AUTO else ["--device", self.device]
        return [*start, *self.command, *config, *device]

    def config_file(self, out: Path) -> Path:
        """Return the path of its configuration."""
        return out / f"{self.name}.json"

    @property
    def output(self) -> Path | None:
        """The file or folder that the stage writes; None if its command has no ``--out``."""
        if self.config is not None:
            return Path(str(self.config.to_dict()["out"]))
        argv = list(self.command)
        return Path(argv[argv.index("--out") + 1]) if "--out" in argv[:-1] else None

    def record(self) -> dict[str, Any]:
        """Return what determines the result, for JSON.

        The device is left out, because a run may be resumed on another one.
        """
        config = None if self.config is None else self.config.to_dict()
        record = {"program": self.program, "command": list(self.command), "config": config}
        return dict(json.loads(json.dumps(record)))

    def difference(self, record: dict[str, Any]) -> str:
        """Describe how this stage differs from a recorded one; "" if it does not."""
        own = self.record()
        if (own["program"], own["command"]) != present_names(record):
            return f"{shlex.join(record['command'])} -> {shlex.join(own['command'])}"
        if self.config is None or record["config"] is None:
            return "" if own["config"] == record["config"] else "another configuration"
        names = {field.name for field in dataclasses.fields(self.config)}
        before = {name: value for name, value in record["config"].items() if name in names}
        return "; ".join(type(self.config).from_dict(before).differences(self.config))


@dataclass(frozen=True)
class RecipeRun:
    """The stages of a recipe with the options of one run.

    Raises:
        ValueError: the options name an unknown device.
    """

    recipe: str
    options: RecipeOptions
    stages: tuple[Stage, ...]

    def __post_init__(self) -> None:
        device = check_device_name(self.options.device)
        if device != AUTO:
            stages = tuple(stage.on(device) for stage in self.stages)
            object.__setattr__(self, "stages", stages)

    @property
    def out(self) -> Path:
        """The output folder."""
        return Path(self.options.out)

    def between(self, first: str | None, last: str | None) -> tuple[Stage, ...]:
        """Return the stages from `first` to `last`, both included.

        Raises:
            ValueError: there is no such stage, or `last` comes before `first`.
        """
        names = [stage.name for stage in self.stages]
        start = 0 if first is None else self._place(first, names)
        end = len(names) - 1 if last is None else self._place(last, names)
        if start > end:
            raise ValueError(f"stage {first} comes after {last}; the order is {', '.join(names)}")
        return self.stages[start : end + 1]

    def _place(self, name: str, names: list[str]) -> int:
        if name not in names:
            near = difflib.get_close_matches(name, names, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ValueError(
                f"recipe {self.recipe} has no stage {name!r}{hint}: {', '.join(names)}"
            )
        return names.index(name)

    def as_shell(self, stages: Sequence[Stage]) -> Iterator[str]:
        """Yield the lines of a shell script that runs the stages, for ``--dry-run``."""
        for stage in stages:
            yield f"# {stage.name}: {stage.what}"
            if stage.config is not None:
                yield f"#   {stage.config_file(self.out)}: {_non_defaults(stage.config)}"
            yield shlex.join(stage.argv(self.out))


def _non_defaults(config: RunConfig) -> str:
    """Fields that differ from their defaults, as JSON."""
    values, defaults = config.to_dict(), type(config).from_dict({}).to_dict()
    changed = {name: value for name, value in values.items() if value != defaults[name]}
    return json.dumps(changed, ensure_ascii=False)


class RunState:
    """Which stages of a run folder are done, with which commands and configurations.

    Raises:
        ValueError: the folder holds a run of another recipe.
    """

    def __init__(self, run: RecipeRun) -> None:
        self._run = run
        self._path = record_file(run.out)
        self._done: dict[str, dict[str, Any]] = {}
        if not self._path.exists():
            return
        state = read_json_object(self._path)
        for name, kind in (("recipe", str), ("version", str), ("stages", dict)):
            field(state, name, kind, self._path)
        if state["recipe"] != run.recipe:
            raise ValueError(
                f"{run.out} holds a run of recipe {state['recipe']}, asked for "
                f"{run.recipe}; choose another --out"
            )
        if state["version"] != __version__:
            announce(
                f"note: {run.out} was begun by almtok {state['version']}, this is "
                f"{__version__}: trainings resume only from checkpoints that it can read"
            )
        self._done = state["stages"]
        if self._path.name == FORMER_RECORD:
            self._done = present_stages(run.recipe, run.out, self._done)
            self._path = self._path.rename(run.out / RECORD)
            self._write()

    def check(self, stages: Sequence[Stage]) -> None:
        """Raise a ValueError if a stage was begun in this folder with other values."""
        for stage in stages:
            before = self._done.get(stage.name)
            with reading(self._path):
                difference = "" if before is None else stage.difference(before)
            if difference:
                raise ValueError(
                    f"stage {stage.name} was begun in {self._run.out} with other values "
                    f"({difference}); choose another --out, or --again {stage.name} to do it anew"
                )

    def forget(self, stage: Stage) -> None:
        """Mark a stage as not done; its output is kept under another name."""
        self._done.pop(stage.name, None)
        output = stage.output
        if output is None or not output.exists() or output == self._run.out:
            return
        number = 1
        while (aside := output.with_name(f"{output.name}.before-{number}")).exists():
            number += 1
        output.rename(aside)
        announce(f"previous output of {stage.name}: {aside}")

    def finished(self, stage: Stage) -> bool:
        """Whether the stage is done and its output still exists."""
        exists = stage.output is None or stage.output.exists()
        return exists and bool(self._done.get(stage.name, {}).get("finished"))

    def begin(self, stage: Stage) -> None:
        """Record that a stage starts."""
        self._record(stage, finished=False, seconds=None)

    def end(self, stage: Stage, seconds: float) -> None:
        """Record that a stage is done."""
        self._record(stage, finished=True, seconds=round(seconds, 1))

    def _record(self, stage: Stage, **facts: Any) -> None:
        self._done[stage.name] = {**stage.record(), **facts}
        self._write()

    def _write(self) -> None:
        write_json(
            self._path,
            {
                "recipe": self._run.recipe,
                "version": __version__,
                "options": dataclasses.asdict(self._run.options),
                "stages": self._done,
            },
        )


# Raises an error if one of these stages would fail.
Check = Callable[[RecipeRun, Sequence[Stage]], None]


def run_recipe(
    run: RecipeRun,
    first: str | None = None,
    last: str | None = None,
    again: Sequence[str] = (),
    check: Check | None = None,
) -> int:
    """Run the stages that are not done.

    Args:
        run: the recipe with its options.
        first: begin with this stage.
        last: end with this stage.
        again: stages that are done anew.
        check: called with the stages that are not done, before the first of them begins.

    Returns:
        Exit status of the first stage that fails, or 0.

    Raises:
        ValueError: the folder holds another run, a stage is unknown, or a stage would fail.
    """
    stages = run.between(first, last)
    with lock_run_dir(run.out, LOCK_FILE):
        return _run_stages(run, stages, again, check)


def _run_stages(
    run: RecipeRun, stages: Sequence[Stage], again: Sequence[str], check: Check | None
) -> int:
    state = RunState(run)
    for name in again:
        state.forget(*run.between(name, name))
    state.check(stages)
    for before in run.stages[: run.stages.index(stages[0])]:
        if not state.finished(before):
            announce(f"note: stage {before.name} has not been done in {run.out}")
    waiting = [stage for stage in stages if not state.finished(stage)]
    if waiting and check is not None:
        check(run, waiting)
    for stage in stages:
        if state.finished(stage):
            announce(f"{stage.name}: done before (almtok run {run.recipe} --again {stage.name})")
            continue
        if stage.config is not None:
            write_json(stage.config_file(run.out), stage.config.to_dict())
        state.begin(stage)
        announce(f"{stage.name}: {stage.what}\n    {shlex.join(stage.argv(run.out))}")
        start = time.monotonic()
        if status := run_process(stage.argv(run.out)):
            announce(f"{stage.name} did not finish; the same command resumes it")
            return status
        state.end(stage, time.monotonic() - start)
    return 0


def announce(text: str) -> None:
    """Print a line about the run."""
    print(f"\n=== {text}", flush=True)
