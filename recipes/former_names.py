"""Former names of programs, commands, stages and files, which older run folders record."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

_MOVED_PROGRAMS = {
    "almtok.recipes.mini.keep:main": "almtok.recipes.publish:copy_model",
    "almtok.recipes.multitask.books:main": "almtok.recipes.transforms.passages:main",
    "almtok.recipes.multitask.cutting:main": "almtok.recipes.transforms.cut_words:main",
    "almtok.recipes.multitask.naming:main": "almtok.recipes.transforms.captions:main_class_names",
    "almtok.recipes.multitask.readings:main": "almtok.recipes.transforms.synthesize:main",
    "almtok.recipes.multitask.retelling:main": "almtok.recipes.transforms.captions:main_rephrased",
}
_MOVED_COMMANDS = {
    ("train", "codec"): ["codec", "train"],
    ("evaluate", "codec"): ["codec", "evaluate"],
    ("prior",): ["codec", "prior"],
    ("listener",): ["codec", "phonemes"],
    ("sharpen",): ["codec", "postfilter"],
    ("train", "lm"): ["lm", "train"],
    ("evaluate", "lm"): ["lm", "evaluate"],
    ("tokenize",): ["lm", "tokenize"],
    ("finetune",): ["lm", "finetune"],
}


RECORD, FORMER_RECORD = "run.json", "story.json"
# Former names of stages by recipe; files and folders in OUT have the same names.
_MOVED_STAGES = {
    "codec": {"listener": "phonemes"},
    "mini": {
        "hello": "example",
        "there-and-back": "reconstruction",
        "lessons": "language-corpus",
        "judged": "comparison",
    },
}
_MOVED_OPTIONS = {"--report": "--html", "--recogniser": "--recognizer"}


def present_names(record: dict[str, Any]) -> tuple[str, list[str]]:
    """Program and command of a recorded stage, under their present names."""
    program = record["program"]
    command = [_MOVED_OPTIONS.get(word, word) for word in record["command"]]
    for former, present in _MOVED_COMMANDS.items():
        if program == "almtok" and tuple(command[: len(former)]) == former:
            return program, [*present, *command[len(former) :]]
    return _MOVED_PROGRAMS.get(program, program), command


def record_file(out: Path) -> Path:
    """Return the file that records a run: ``run.json``, or ``story.json`` of earlier versions."""
    former = out / FORMER_RECORD
    return former if former.exists() and not (out / RECORD).exists() else out / RECORD


def present_stages(recipe: str, out: Path, stages: dict[str, Any]) -> dict[str, Any]:
    """Give stages of an earlier version, and their outputs, the present names.

    Args:
        recipe: name of the recipe.
        out: folder of the run, as its commands spell it.
        stages: records of the stages by name.
    """
    moved = _MOVED_STAGES.get(recipe, {})
    text = json.dumps({moved.get(name, name): stage for name, stage in stages.items()})
    text = text.replace('"listener": ', '"phoneme_classifier": ')
    for former, present in moved.items():
        place = re.escape(json.dumps(str(out))[1:-1])
        text = re.sub(rf"({place}/){former}\b", rf"\1{present}", text)
        for path in out.glob(f"{former}*"):
            if path.name.partition(".")[0] == former:
                path.rename(path.with_name(present + path.name[len(former) :]))
        inside = out / present / f"{former}.json"
        if inside.exists():
            inside.rename(inside.with_name(f"{present}.json"))
    return dict(json.loads(text))
