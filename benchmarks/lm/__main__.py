"""``python -m benchmarks.lm``: what generating a second of audio costs, beside other models.

Run it from the root of the repository on an idle machine. Every cell is measured in a process of
its own. ``rows.json`` and ``table.md`` are rewritten after every cell; the table tells which
targets of the project are reached. The exit status is 1 when one is missed.
"""

from __future__ import annotations

import sys
from pathlib import Path

from ..harness import benchmark_main, make_parser
from .plan import CODECS, DTYPES, BenchmarkConfig, run_benchmark
from .report import to_markdown
from .systems import BACKBONES, OPTIONS, SYSTEMS
from .targets import check_targets


def main() -> int:
    """Run the benchmark; 1 when a target is missed."""
    default = BenchmarkConfig()
    parser = make_parser("python -m benchmarks.lm", __doc__, default)
    parser.add_argument("--systems", nargs="+", default=default.systems, choices=tuple(SYSTEMS))
    parser.add_argument("--dtypes", nargs="+", default=default.dtypes, choices=DTYPES)
    parser.add_argument("--batches", nargs="+", type=int, default=default.batches)
    parser.add_argument("--options", nargs="*", default=default.options, choices=OPTIONS)
    parser.add_argument("--codecs", nargs="+", default=default.codecs, choices=CODECS)
    parser.add_argument("--size", default=default.size, choices=tuple(BACKBONES))
    parser.add_argument("--prompt", type=int, default=default.prompt, help="rows")
    parser.add_argument("--minutes", type=float, default=default.minutes, help="for all")
    parser.add_argument("--quick", action="store_true", help="a smoke test: toys, no peers")
    parser.add_argument("--out", type=Path, default=Path("runs/benchmark-lm"), help="folder")
    arguments = parser.parse_args()
    config = BenchmarkConfig.from_arguments(arguments)
    if arguments.quick:
        config = BenchmarkConfig(
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
    return benchmark_main(
        arguments.out, lambda save: run_benchmark(config, save=save), to_markdown, check_targets
    )


if __name__ == "__main__":
    sys.exit(main())
