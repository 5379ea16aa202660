"""A recipe's story: stages in order, each a command in a process of its own, and what is done.

Every command is printed before it runs and can be run alone. ``OUT/story.json`` keeps which stages
are done and with what, so that the same call goes on, and another one is refused instead of mixing
two runs in one folder.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import shlex
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from almtok import __version__
from almtok.core.choices import AUTO, DEVICE_HELP, check_device_name
from almtok.core.files import write_json
from almtok.core.training.config import RunConfig, option

from .stage_process import run_process

# Commands that take `--device`.
DEVICE_COMMANDS = (
    *(("encode",), ("decode",), ("codec", "prior"), ("lm", "tokenize")),
    *(("tts",), ("asr",), ("sound",), ("music",), ("caption",), ("continue",)),
    *(("codec", "evaluate"), ("lm", "evaluate"), ("codec", "word-errors")),
)


@dataclass(frozen=True, kw_only=True)
class RecipeOptions:
    """What a recipe may be asked; each recipe adds its own fields with :func:`option`."""

    out: str = option("", "folder of everything that is made (default: runs/RECIPE)")
    device: str = option(AUTO, f"of every stage: {DEVICE_HELP}")


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One step of a recipe."""

    name: str
    what: str  # one line for people
    command: tuple[str, ...]  # words after `almtok`, or after the program below
    # Written to OUT/NAME.json and handed over as `--config`.
    config: RunConfig | None = None
    program: str = "almtok"  # or "package.module:function", a function of the command line
    program_takes_device: bool = False  # of another program: whether it has an option `--device`
    device: str = AUTO

    @property
    def takes_device(self) -> bool:
        """Whether its command has an option `--device`."""
        if self.program != "almtok":
            return self.program_takes_device
        return any(self.command[: len(words)] == words for words in DEVICE_COMMANDS)

    def on(self, device: str) -> Stage:
        """Return this stage on a device. A device in its configuration takes precedence."""
        if self.config is not None and getattr(self.config, "device", None) == AUTO:
            config: Any = self.config
            return dataclasses.replace(self, config=dataclasses.replace(config, device=device))
        return dataclasses.replace(self, device=device) if self.takes_device else self

    def words(self, out: Path) -> list[str]:
        """The command as a shell would have it."""
        start = ["almtok"]
        if self.program != "almtok":
            module, function = self.program.split(":")
            start = ["python", "-c", f"from {module} import {function}; {function}()"]
        given = [] if self.config is None else ["--config", str(self.config_file(out))]
        placed = [] if self.device == AUTO else ["--device", self.device]
        return [*start, *self.command, *given, *placed]

    def config_file(self, out: Path) -> Path:
        """Where its configuration is written."""
        return out / f"{self.name}.json"

    @property
    def makes(self) -> Path | None:
        """The file or folder that it makes, if it says so."""
        if self.config is not None:
            return Path(str(self.config.to_dict()["out"]))
        words = list(self.command)
        return Path(words[words.index("--out") + 1]) if "--out" in words[:-1] else None

    def facts(self) -> dict[str, Any]:
        """What decides its outcome. The device is left out: a run may go on on another one."""
        config = None if self.config is None else self.config.to_dict()
        facts = {"program": self.program, "command": list(self.command), "config": config}
        return dict(json.loads(json.dumps(facts)))

    def difference(self, facts: dict[str, Any]) -> str:
        """What this stage would do otherwise than the one of those facts; "" if nothing."""
        mine = self.facts()
        if (mine["program"], mine["command"]) != (facts["program"], facts["command"]):
            return f"{shlex.join(facts['command'])} -> {shlex.join(mine['command'])}"
        if self.config is None or facts["config"] is None:
            return "" if mine["config"] == facts["config"] else "another configuration"
        known = {field.name for field in dataclasses.fields(self.config)}
        before = {name: value for name, value in facts["config"].items() if name in known}
        return "; ".join(type(self.config).from_dict(before).differences(self.config))


@dataclass(frozen=True)
class RecipeRun:
    """The stages of one recipe with the options of one run, on the device that these name.

    Raises:
        ValueError: there is no device of that name.
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
        """Its folder."""
        return Path(self.options.out)

    def between(self, first: str | None, last: str | None) -> tuple[Stage, ...]:
        """The stages from one to another, both included.

        Raises:
            ValueError: there is no such stage, or they are the wrong way round.
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

    def told(self, stages: Sequence[Stage]) -> Iterator[str]:
        """The story as a shell script, for ``--dry-run``."""
        for stage in stages:
            yield f"# {stage.name}: {stage.what}"
            if stage.config is not None:
                yield f"#   {stage.config_file(self.out)}: {_what_is_set(stage.config)}"
            yield shlex.join(stage.words(self.out))


def _what_is_set(config: RunConfig) -> str:
    """Fields that are not at their defaults."""
    values, plain = config.to_dict(), type(config).from_dict({}).to_dict()
    changed = {name: value for name, value in values.items() if value != plain[name]}
    return json.dumps(changed, ensure_ascii=False)


class RunState:
    """What was done in a folder, and with what."""

    def __init__(self, story: RecipeRun) -> None:
        self._story = story
        self._path = story.out / "story.json"
        self._done: dict[str, dict[str, Any]] = {}
        if self._path.exists():
            known = json.loads(self._path.read_text(encoding="utf-8"))
            if known["recipe"] != story.recipe:
                raise ValueError(
                    f"{story.out} holds a run of recipe {known['recipe']}, asked for "
                    f"{story.recipe}; choose another --out"
                )
            if known["version"] != __version__:
                say(
                    f"note: {story.out} was begun by almtok {known['version']}, this is "
                    f"{__version__}: trainings go on only from checkpoints that it can read"
                )
            self._done = known["stages"]

    def refuse_another(self, stages: Sequence[Stage]) -> None:
        """Refuse stages that were begun here with something else."""
        for stage in stages:
            before = self._done.get(stage.name)
            if before is not None and (difference := stage.difference(before)):
                raise ValueError(
                    f"stage {stage.name} was begun in {self._story.out} with other values "
                    f"({difference}); choose another --out, or --again {stage.name} to do it anew"
                )

    def forget(self, stage: Stage) -> None:
        """Do a stage anew: what it made is kept beside, under another name."""
        self._done.pop(stage.name, None)
        made = stage.makes
        if made is None or not made.exists() or made == self._story.out:
            return
        number = 1
        while (aside := made.with_name(f"{made.name}.before-{number}")).exists():
            number += 1
        made.rename(aside)
        say(f"what {stage.name} made before: {aside}")

    def finished(self, stage: Stage) -> bool:
        """Whether it is done, and what it made is still there."""
        there = stage.makes is None or stage.makes.exists()
        return there and bool(self._done.get(stage.name, {}).get("finished"))

    def begin(self, stage: Stage) -> None:
        """Note what is about to run."""
        self._note(stage, finished=False, seconds=None)

    def end(self, stage: Stage, seconds: float) -> None:
        """Note that it is done."""
        self._note(stage, finished=True, seconds=round(seconds, 1))

    def _note(self, stage: Stage, **facts: Any) -> None:
        self._done[stage.name] = {**stage.facts(), **facts}
        write_json(
            self._path,
            {
                "recipe": self._story.recipe,
                "version": __version__,
                "options": dataclasses.asdict(self._story.options),
                "stages": self._done,
            },
        )


def run_recipe(
    story: RecipeRun, first: str | None = None, last: str | None = None, again: Sequence[str] = ()
) -> int:
    """Run the stages that are not done; the status of the first that fails, or 0.

    Raises:
        ValueError: the folder holds another run, or a stage is unknown.
    """
    stages = story.between(first, last)
    diary = RunState(story)
    for name in again:
        diary.forget(*story.between(name, name))
    diary.refuse_another(stages)
    for before in story.stages[: story.stages.index(stages[0])]:
        if not diary.finished(before):
            say(f"note: stage {before.name} has not been done in {story.out}")
    for stage in stages:
        if diary.finished(stage):
            say(f"{stage.name}: done before (almtok run {story.recipe} --again {stage.name})")
            continue
        if stage.config is not None:
            write_json(stage.config_file(story.out), stage.config.to_dict())
        diary.begin(stage)
        say(f"{stage.name}: {stage.what}\n    {shlex.join(stage.words(story.out))}")
        start = time.monotonic()
        if status := run_process(stage.words(story.out)):
            say(f"{stage.name} did not finish; the same command goes on from here")
            return status
        diary.end(stage, time.monotonic() - start)
    return 0


def say(text: str) -> None:
    """A line of the story."""
    print(f"\n=== {text}", flush=True)
