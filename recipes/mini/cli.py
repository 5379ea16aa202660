"""``almtok demo``; nothing heavy is imported until it runs."""

import argparse
from pathlib import Path
from typing import Any

from . import STEPS

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
    parser.add_argument(
        "--scale",
        type=float,
        default=1.0,
        metavar="X",
        help="times the training steps of the recipe (default 1)",
    )
    parser.add_argument("--only", nargs="+", choices=STEPS, default=STEPS, help="these steps alone")
    parser.set_defaults(run=demo)


def demo(options: argparse.Namespace) -> int:
    """Run ``almtok demo``: the steps that are asked for, in their order."""
    from ..story import Story, run_story
    from . import recipe

    asked = recipe.Options(out=str(options.out), seed=options.seed, scale=options.scale)
    story = Story("mini", asked, tuple(recipe.stages(asked)))
    for step in STEPS:
        if step in options.only and (status := run_story(story, step, step)):
            return status
    return 0
