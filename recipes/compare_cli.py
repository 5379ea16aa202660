"""``almtok compare``: is my loss normal?"""

import argparse
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent

DESCRIPTION = """\
Is my loss normal? The losses of a run beside those of a recipe or of another run.

A recipe's reference is a run of ours on its own data: yours need not be the same, but a loss far
outside its band has a cause, and the likeliest is named. Runs of different length are compared at
the same share of their steps.
"""

EPILOG = """\
examples:
  almtok compare runs/mine/stage2 --to runs/yours/stage2
  almtok compare runs/demo/stage2 --to mini/stage2           what make demo gave us
  almtok compare runs/mine/lm --save reference.json      keep its curves as a reference
"""


def register(commands: Any) -> None:
    """Add ``compare`` to the sub-parsers of ``almtok``."""
    parser = commands.add_parser(
        "compare",
        help="compare the loss curves of a run with those of a recipe or another run",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("run_folder", metavar="RUN", type=Path, help="folder of a training")
    known = ", ".join(references()) or "none"
    parser.add_argument("--to", metavar="REF", help=f"RECIPE/STAGE ({known}), or a run folder")
    parser.add_argument("--save", type=Path, metavar="FILE", help="write the run's curves as JSON")
    parser.set_defaults(run=run)


def references() -> list[str]:
    """References that come with recipes, as RECIPE/STAGE."""
    return [f"{file.parts[-3]}/{file.stem}" for file in sorted(HERE.glob("*/reference/*.json"))]


def run(options: argparse.Namespace) -> int:
    """Run ``almtok compare``; 1 if a loss lies outside."""
    from almtok.core.files import write_json

    from .curves import compare, read_curves, verdict_table

    mine = read_curves(options.run_folder)
    if options.save is not None:
        write_json(options.save, mine.to_dict())
        print(f"curves of {mine.what}: {options.save}")
    if options.to is None:
        if options.save is None:
            raise ValueError(f"compare with what? --to a run folder, or one of {references()}")
        return 0
    place = Path(options.to)
    if options.to in references():
        recipe, stage = options.to.split("/")
        place = HERE / recipe / "reference" / f"{stage}.json"
    reference = read_curves(place)
    verdicts = compare(mine, reference)
    print(f"{mine.what}, {100 * mine.done:.0f} % of {mine.steps} steps, beside {reference.what}")
    print(verdict_table(verdicts), end="")
    if mine.steps != reference.steps:
        print(f"(the reference had {reference.steps} steps: compared at the same share of them)")
    return 0 if all(one.inside for one in verdicts) else 1
