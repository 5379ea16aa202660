"""``python -m benchmarks.codec``: what the codec costs beside other codecs.

Run it from the root of the repository on an idle machine. Every cell is measured in a process of
its own. ``rows.json`` and ``table.md`` are rewritten after every cell; the table tells which
targets of the project are reached. The exit status is 1 when one is missed.
"""

from __future__ import annotations

import sys
from pathlib import Path

from ..harness import benchmark_main, make_parser
from .plan import SIDES, BenchmarkConfig, run_benchmark
from .report import to_markdown
from .systems import NAMES
from .targets import check_targets


def main() -> int:
    """Run the benchmark; 1 when a target is missed."""
    default = BenchmarkConfig()
    parser = make_parser("python -m benchmarks.codec", __doc__, default)
    parser.add_argument("--systems", nargs="+", default=default.systems, choices=NAMES)
    parser.add_argument("--seconds", nargs="+", type=float, default=default.seconds)
    parser.add_argument("--batches", nargs="+", type=int, default=default.batches)
    parser.add_argument("--sides", nargs="+", default=default.sides, choices=SIDES)
    for name in ("options", "train", "stream"):
        parser.add_argument(f"--no-{name}", dest=name, action="store_false")
    parser.add_argument("--quick", action="store_true", help="a smoke test: tiny and encodec, 1 s")
    parser.add_argument("--out", type=Path, default=Path("runs/benchmark"), help="folder")
    arguments = parser.parse_args()
    config = BenchmarkConfig.from_arguments(arguments)
    if arguments.quick:
        config = BenchmarkConfig(
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
    return benchmark_main(
        arguments.out, lambda save: run_benchmark(config, save=save), to_markdown, check_targets
    )


if __name__ == "__main__":
    sys.exit(main())
