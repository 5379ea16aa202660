"""``almtok demo``; nothing heavy is imported until it runs."""

import argparse
from pathlib import Path
from typing import Any

from almtok.core.choices import add_device, add_seed

from . import STEPS
from .pace import Pace, measured

DESCRIPTION = """\
Train a tiny codec and a small language model in minutes of CPU, and report on them. Makes a corpus
of speech, sounds and tunes; trains a codec and reconstructs unseen clips; trains a language model
that speaks, transcribes, generates sounds and music, describes them, and learns one more voice by
LoRA. OUT/report.html has players and all scores. The same command resumes a stopped run. This is
the recipe 'mini': 'almtok run mini --help' shows all its options.
"""
EXAMPLES = """
almtok demo
almtok demo --minutes 5
almtok demo --scale 0.1 --out runs/look
almtok demo --only report
"""


def register(commands: Any) -> None:
    """Add ``demo`` to the sub-parsers of ``almtok``."""
    parser = commands.add_parser(
        "demo",
        help="train a tiny codec and a language model in minutes, and report on them",
        description=DESCRIPTION,
        examples=EXAMPLES,
    )
    add = parser.add_argument
    add("--out", default=Path("runs/demo"), metavar="DIR", help="output folder")
    add("--scale", type=float, metavar="X", help="factor of all training steps (default: 1)")
    add("--minutes", type=float, help="choose --scale for about X minutes on this machine")
    add_seed(parser)
    add_device(parser)
    add("--only", nargs="+", choices=STEPS, metavar="STEP", help="run these steps only")
    parser.set_defaults(run=demo, only=STEPS)


def demo(options: argparse.Namespace) -> int:
    """Run ``almtok demo``: the chosen steps in their order."""
    from ..run import RecipeRun, RunState, announce, run_recipe
    from . import recipe

    if options.minutes is not None and options.scale is not None:
        raise ValueError("give --minutes or --scale, not both")
    pace, scale = _pace(options), 1.0 if options.scale is None else options.scale
    if options.minutes is not None:
        scale = pace.scale_for(options.minutes)
    asked = recipe.Options(
        out=str(options.out), seed=options.seed, scale=scale, device=options.device
    )
    run = RecipeRun("mini", asked, tuple(recipe.stages(asked)))
    state = RunState(run)
    done = [one.name for one in run.stages if state.finished(one) or one.name not in options.only]
    if len(done) < len(STEPS):
        minutes = pace.seconds(scale, done) / 60
        announce(f"about {max(1, round(minutes))} minutes on this machine (--scale {scale:g})")
    for step in STEPS:
        if step in options.only and (status := run_recipe(run, step, step)):
            return status
    return 0


def _pace(options: argparse.Namespace) -> Pace:
    """Return the pace of this machine, measured once per folder in a separate process."""
    from ..stage_process import run_process

    place = options.out / "pace.json"
    if not place.exists():
        call = "from almtok.recipes.mini.pace import main; main()"
        words = ["python", "-c", call, "--out", str(place), "--device", options.device]
        if status := run_process(words):
            raise ValueError(f"this machine could not be measured (exit status {status})")
    return measured(place)
