"""``python -m benchmarks.codec``: what our codec costs beside its peers, in one run, in turn.

Run it from the root of the repository on a quiet machine. Every cell is measured in a process of
its own; results so far are on disk after every group, as JSON and as a Markdown table that says
which of the project's targets were reached. The exit status is 1 when one was missed.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ..results import save_results
from .plan import SIDES, BenchmarkConfig, Cell
from .report import to_markdown
from .runner import environment, run_benchmark
from .systems import NAMES
from .targets import check_targets


def _parser() -> argparse.ArgumentParser:
    default = BenchmarkConfig()
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.codec",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--systems", nargs="+", default=default.systems, choices=NAMES)
    parser.add_argument("--seconds", nargs="+", type=float, default=default.seconds)
    parser.add_argument("--batches", nargs="+", type=int, default=default.batches)
    parser.add_argument("--sides", nargs="+", default=default.sides, choices=SIDES)
    parser.add_argument("--rounds", type=int, default=default.rounds)
    parser.add_argument("--budget", type=float, default=default.budget, help="seconds per cell")
    parser.add_argument("--threads", type=int, default=default.threads, help="0: all cores")
    parser.add_argument("--memory-gib", type=float, default=default.memory_gib, help="per cell")
    parser.add_argument("--timeout", type=float, default=default.timeout, help="per cell, seconds")
    for name in ("options", "train", "stream"):
        parser.add_argument(f"--no-{name}", dest=name, action="store_false")
    parser.add_argument("--quick", action="store_true", help="a smoke test: tiny and encodec, 1 s")
    parser.add_argument("--out", type=Path, default=Path("runs/benchmark"), help="folder")
    return parser


def _config(arguments: argparse.Namespace) -> BenchmarkConfig:
    if arguments.quick:
        return BenchmarkConfig(
            systems=("tiny", "encodec"),
            seconds=(1.0,),
            batches=(1,),
            sides=("encode", "decode"),
            rounds=1,
            budget=0.2,
            runs=1,
            threads=arguments.threads,
            options=False,
            train=False,
        )
    return BenchmarkConfig(
        systems=tuple(arguments.systems),
        seconds=tuple(arguments.seconds),
        batches=tuple(arguments.batches),
        sides=tuple(arguments.sides),
        rounds=arguments.rounds,
        budget=arguments.budget,
        threads=arguments.threads,
        memory_gib=arguments.memory_gib,
        timeout=arguments.timeout,
        options=arguments.options,
        train=arguments.train,
        stream=arguments.stream,
    )


def main() -> int:
    """Run the benchmark; 1 when a target that was measured is missed."""
    arguments = _parser().parse_args()
    machine = environment()

    def save(rows: list[Cell]) -> None:
        save_results(arguments.out, rows, machine, to_markdown)

    rows = run_benchmark(_config(arguments), save=save)
    print(to_markdown(rows, machine))
    print(f"rows.json and table.md are in {arguments.out}")
    return 1 if any(check.passed is False for check in check_targets(rows)) else 0


if __name__ == "__main__":
    sys.exit(main())
