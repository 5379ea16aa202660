"""``almtok demo``; nothing heavy is imported until it runs."""

import argparse
from pathlib import Path
from typing import Any

from almtok.core.choices import add_device

from . import STEPS
from .pace import Pace, measured

DESCRIPTION = """\
Train a tiny codec and a small language model in minutes of CPU, and look at what they do.

Makes a corpus of speech, sounds and tunes, builds the semantic prior, trains both stages of a codec
and reconstructs clips that it has not seen. Then teaches a language model 93 words of one voice,
16 kinds of sound and eight instruments, on the codes of the codec that comes with almtok: it
speaks, transcribes, makes sounds and music, describes them, and learns one more voice by LoRA.
OUT/report.html has players and all scores. Stopped at any moment, the same command goes on. It is
the recipe `mini`: 'almtok run mini' has all its options.
"""

EPILOG = """\
examples:
  almtok demo
  almtok demo --minutes 5                     as many steps as fit into five minutes of this machine
  almtok demo --scale 0.1 --out runs/look     a first look, not a codec yet
  almtok demo --only report                   one step alone
"""


def register(commands: Any) -> None:
    """Add ``demo`` to the sub-parsers of ``almtok``."""
    parser = commands.add_parser(
        "demo",
        help="train a tiny codec and a language model in minutes, and report on them",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--out", type=Path, default=Path("runs/demo"), help="default %(default)s")
    parser.add_argument("--seed", type=int, default=0, help="of the corpus (default 0)")
    length = parser.add_mutually_exclusive_group()
    length.add_argument(
        "--scale",
        type=float,
        default=1.0,
        metavar="X",
        help="times the training steps of the recipe (default 1)",
    )
    length.add_argument(
        "--minutes",
        type=float,
        metavar="N",
        help="choose --scale so that all of it takes about N minutes on this machine",
    )
    add_device(parser)
    parser.add_argument("--only", nargs="+", choices=STEPS, default=STEPS, help="these steps alone")
    parser.set_defaults(run=demo)


def demo(options: argparse.Namespace) -> int:
    """Run ``almtok demo``: the chosen steps in their order."""
    from ..run import RecipeRun, RunState, announce, run_recipe
    from . import recipe

    pace, scale = _pace(options), options.scale
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
