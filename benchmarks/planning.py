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
from almtok.recipes.planning import StageCost, plan

HEAD = ("stage", "steps", "predicted, s", "took, s", "predicted / took")


def compare(run: Path, seconds: float) -> list[tuple[str, ...]]:
    """Rows of the table: every training that the run has finished.

    Raises:
        ValueError: the folder holds no run, or none of its trainings is done.
    """
    diary = run / "story.json"
    if not diary.exists():
        raise ValueError(f"{run} holds no run of a recipe: there is no story.json")
    told = json.loads(diary.read_text(encoding="utf-8"))
    words = [
        f"--{name.replace('_', '-')}={value}" for name, value in told["options"].items() if value
    ]
    _, story = cli.parse(told["recipe"], words)
    done = {name: one["seconds"] for name, one in told["stages"].items() if one["finished"]}
    stages = [one for one in story.stages if one.config is not None and one.name in done]
    if not stages:
        raise ValueError(f"no training of {run} is finished; there is nothing to compare with")
    rows = []
    for name, cost in plan(story, stages, seconds).items():
        if not isinstance(cost, StageCost):
            rows.append((name, "", f"not measured: {cost}", f"{done[name]:.0f}", ""))
            continue
        whole = cost.steps * cost.seconds_per_step
        ratio = f"{whole / done[name]:.2f}"
        rows.append((name, str(cost.steps), f"{whole:.0f}", f"{done[name]:.0f}", ratio))
    return rows


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.planning", description=__doc__)
    parser.add_argument("run", type=Path, metavar="RUN")
    parser.add_argument("--probe-seconds", type=float, default=20.0, metavar="S")
    options = parser.parse_args()
    rows = compare(options.run, options.probe_seconds)
    for row in (HEAD, ["---"] * len(HEAD), *rows):
        print(f"| {' | '.join(row)} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
