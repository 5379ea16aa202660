"""``almtok compare``: judge the losses of a run by those of a recipe or another run."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import Any

from almtok.core.choices import add_json
from almtok.core.files import write_json, write_text
from almtok.core.printing import print_result

from .curves import (
    LossCurves,
    Verdict,
    compare,
    read_curves,
    read_reference,
    references,
    verdict_table,
)

DESCRIPTION = """\
Compare the losses of a run with those of a recipe or of another run, at the same share of their
steps. A recipe's reference is one of our runs on its own data. A loss far outside the reference's
band is reported with its likely cause.
"""
EXAMPLES = """
almtok compare runs/mine/stage2 --to runs/yours/stage2
almtok compare runs/demo/stage2 --to mini/stage2 --report curves.html
almtok compare runs/mine/lm --save reference.json
"""


def register(commands: Any) -> None:
    """Add ``compare`` to the sub-parsers of ``almtok``."""
    parser = commands.add_parser(
        "compare",
        help="compare the loss curves of a run with those of a recipe or another run",
        description=DESCRIPTION,
        examples=EXAMPLES,
    )
    add = parser.add_argument
    add("run_folder", metavar="RUN", type=Path, help="run folder of a training")
    text = f"run folder, saved curves, or RECIPE/STAGE: {', '.join(references()) or 'none'}"
    add("--to", metavar="REF", help=text)
    text = "write a page with all curves of the run, those of losses beside the bands"
    add("--report", type=Path, metavar="FILE", help=text)
    add("--save", type=Path, metavar="FILE", help="write the run's curves as JSON")
    add_json(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run ``almtok compare``; 1 if a loss is outside the band of the reference."""
    if args.report is not None and args.report.suffix != ".html":
        raise ValueError(f"--report must end in .html, got {args.report}")
    curves = read_curves(args.run_folder)
    if args.to is None and args.save is None and args.report is None:
        raise ValueError(f"--to must be a run folder or one of {references()}, got nothing")
    lines: list[str] = []
    if args.save is not None:
        write_json(args.save, curves.to_dict())
        lines.append(f"curves of {curves.what}: {args.save}")
    reference = None if args.to is None else read_reference(args.to)
    verdicts = [] if reference is None else compare(curves, reference)
    if reference is not None:
        lines.append(_text(curves, reference, verdicts))
    if args.report is not None:
        from .curves_page import page

        write_text(args.report, page(curves, reference, verdicts, args.run_folder))
        lines.append(f"curves: {args.report}")
    print_result(args, "\n".join(lines), _value(curves, reference, verdicts))
    return 0 if all(verdict.inside for verdict in verdicts) else 1


def _text(curves: LossCurves, reference: LossCurves, verdicts: list[Verdict]) -> str:
    done = f"{100 * curves.done:.0f} % of {curves.steps} steps"
    text = f"{curves.what}, {done}, beside {reference.what}\n{verdict_table(verdicts)}"
    if curves.steps != reference.steps:
        text += f"(the reference had {reference.steps} steps: compared at the same share of them)"
    return text.rstrip()


def _value(
    curves: LossCurves, reference: LossCurves | None, verdicts: list[Verdict]
) -> dict[str, Any]:
    """The comparison for ``--json``; without a reference, the curves."""
    if reference is None:
        return curves.to_dict()
    return {
        "run": curves.what,
        "steps": curves.steps,
        "done": curves.done,
        "reference": reference.what,
        "reference_steps": reference.steps,
        "losses": [
            {**dataclasses.asdict(verdict), "inside": verdict.inside} for verdict in verdicts
        ],
    }
