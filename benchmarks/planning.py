"""``python -m benchmarks.planning RUN``: what ``almtok run --plan`` predicts, beside what it took.

RUN is the folder of a finished run of a recipe on this machine. Its trainings are probed as
``--plan`` does, with the options of the run.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from almtok.recipes import cli
from almtok.recipes.former_names import record_file
from almtok.recipes.planning import StageCost, plan

from .harness import markdown_table

HEAD = ("stage", "steps", "predicted, s", "took, s", "predicted / took")


def compare(run: Path, seconds: float) -> list[tuple[str, ...]]:
    """Rows of the table: every training that the run has finished.

    Raises:
        ValueError: the folder holds no run, or none of its trainings is done.
    """
    path = record_file(run)
    if not path.exists():
        raise ValueError(f"{run} holds no run of a recipe: there is no {path.name}")
    state = json.loads(path.read_text(encoding="utf-8"))
    argv = [
        f"--{name.replace('_', '-')}={value}" for name, value in state["options"].items() if value
    ]
    _, recipe_run = cli.parse(state["recipe"], argv)
    done = {name: stage["seconds"] for name, stage in state["stages"].items() if stage["finished"]}
    stages = [s for s in recipe_run.stages if s.config is not None and s.name in done]
    if not stages:
        raise ValueError(f"no training of {run} is finished; there is nothing to compare with")
    rows = []
    for name, cost in plan(recipe_run, stages, seconds).items():
        if not isinstance(cost, StageCost):
            rows.append((name, "", f"not measured: {cost}", f"{done[name]:.0f}", ""))
            continue
        predicted = cost.steps * cost.seconds_per_step
        ratio = f"{predicted / done[name]:.2f}"
        rows.append((name, str(cost.steps), f"{predicted:.0f}", f"{done[name]:.0f}", ratio))
    return rows


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.planning", description=__doc__)
    parser.add_argument("run", type=Path, metavar="RUN")
    parser.add_argument("--probe-seconds", type=float, default=20.0, metavar="S")
    args = parser.parse_args()
    print(markdown_table(HEAD, compare(args.run, args.probe_seconds)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
