"""``python -m benchmarks.lm``: what generating a second of audio costs, ours beside peers.

Run it from the root of the repository on a quiet machine. Every cell is measured in a process of
its own, all models in turn; results so far are on disk after every cell, as JSON and as a Markdown
table that says which of the project's targets were reached. The exit status is 1 when one was
missed.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ..codec.runner import environment
from ..results import save_results
from .plan import CODECS, DTYPES, BenchmarkConfig, Cell
from .report import to_markdown
from .runner import run_benchmark
from .systems import BACKBONES, OPTIONS, SYSTEMS
from .targets import check_targets


def _parser() -> argparse.ArgumentParser:
    default = BenchmarkConfig()
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.lm",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--systems", nargs="+", default=default.systems, choices=tuple(SYSTEMS))
    parser.add_argument("--dtypes", nargs="+", default=default.dtypes, choices=DTYPES)
    parser.add_argument("--batches", nargs="+", type=int, default=default.batches)
    parser.add_argument("--options", nargs="*", default=default.options, choices=OPTIONS)
    parser.add_argument("--codecs", nargs="+", default=default.codecs, choices=CODECS)
    parser.add_argument("--size", default=default.size, choices=tuple(BACKBONES))
    parser.add_argument("--prompt", type=int, default=default.prompt, help="rows")
    parser.add_argument("--rounds", type=int, default=default.rounds)
    parser.add_argument("--budget", type=float, default=default.budget, help="seconds per cell")
    parser.add_argument("--threads", type=int, default=default.threads, help="0: all cores")
    parser.add_argument("--memory-gib", type=float, default=default.memory_gib, help="per cell")
    parser.add_argument("--timeout", type=float, default=default.timeout, help="per cell, seconds")
    parser.add_argument("--minutes", type=float, default=default.minutes, help="for all")
    parser.add_argument("--quick", action="store_true", help="a smoke test: toys, no peers")
    parser.add_argument("--out", type=Path, default=Path("runs/benchmark-lm"), help="folder")
    return parser


def _config(arguments: argparse.Namespace) -> BenchmarkConfig:
    if arguments.quick:
        return BenchmarkConfig(
            systems=("depth", "flat"),
            dtypes=("float32",),
            batches=(1,),
            options=(),
            codecs=("mini",),
            size="toy",
            prompt=16,
            frames=50,
            budget=0.1,
            runs=1,
            threads=arguments.threads,
        )
    return BenchmarkConfig(
        systems=tuple(arguments.systems),
        dtypes=tuple(arguments.dtypes),
        batches=tuple(arguments.batches),
        options=tuple(arguments.options),
        codecs=tuple(arguments.codecs),
        size=arguments.size,
        prompt=arguments.prompt,
        rounds=arguments.rounds,
        budget=arguments.budget,
        threads=arguments.threads,
        memory_gib=arguments.memory_gib,
        timeout=arguments.timeout,
        minutes=arguments.minutes,
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
