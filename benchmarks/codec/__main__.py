"""``python -m benchmarks.codec``: what the codec costs beside other codecs.

Run it from the root of the repository on an idle machine. Every cell is measured in a process of
its own. ``rows.json`` and ``table.md`` are rewritten after every cell; the table tells which
targets of the project are reached. The exit status is 1 when one is missed.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass

from ..harness import Benchmark, Cell, HarnessConfig, option
from .report import to_markdown
from .systems import NAMES, OURS, PEERS
from .targets import check_targets

SIDES = ("encode", "decode", "both")
OUR_MB_PER_SECOND = 0.4  # of audio: input and output; the activations are constant


@dataclass(frozen=True, kw_only=True)
class BenchmarkConfig(HarnessConfig):
    """What to measure."""

    systems: tuple[str, ...] = ("mini", "base", "encodec", "mimi", "dac")
    seconds: tuple[float, ...] = (1.0, 10.0, 60.0, 300.0, 3600.0)
    batches: tuple[int, ...] = (1, 8)
    sides: tuple[str, ...] = SIDES
    rounds: int = option(3, "measurements of every cell")
    options: bool = True  # bfloat16 and torch.compile
    train: bool = True
    stream: bool = True


QUICK = BenchmarkConfig(
    systems=("tiny", "encodec"), seconds=(1.0,), batches=(1,), sides=("encode", "decode"),
    rounds=1, budget=0.2, runs=1, options=False, train=False,
)  # fmt: skip


def too_big(cell: Cell, memory_gib: float) -> str | None:
    """Why a cell is left out, or None when it should fit."""
    if cell["kind"] not in ("codec", "train"):
        return None
    audio = cell["seconds"] * cell["batch"]
    per_second = PEERS[cell["system"]].mb_per_second if cell["system"] in PEERS else 0.0
    need = (800.0 + audio * max(per_second, OUR_MB_PER_SECOND)) / 1024.0
    if need > memory_gib:
        return f"does not fit: needs about {need:.0f} GiB"
    # DAC takes 0.5 to 0.8 s on two cores per second of audio, so that long cells take minutes.
    if cell["system"] == "dac" and audio > 100:
        return "left out: slower than 0.4 of real time"
    return None


def groups(config: BenchmarkConfig) -> Iterator[list[Cell]]:
    """Groups of cells that are compared with each other."""
    plain = {"dtype": "float32", "compile": False}
    ours = [system for system in config.systems if system in OURS]
    longest = min(10.0, max(config.seconds))
    yield [config.cell("peak")]
    yield [config.cell("facts", system) for system in config.systems]
    yield [config.cell("parts", system, seconds=longest, dtype="float32") for system in ours]
    if config.stream:
        yield [
            config.cell("stream", system, side=side, dtype="float32")
            for system in ours
            for side in ("encode", "decode")
        ]
    for batch in config.batches:
        for seconds in config.seconds:
            if seconds * batch <= 4000:  # eight times an hour would take too long
                for side in config.sides:
                    values = {"side": side, "seconds": seconds, "batch": batch, **plain}
                    yield [config.cell("codec", system, **values) for system in config.systems]
    if config.options:
        for system in ours:
            for side in ("encode", "decode"):
                values = {"side": side, "seconds": 10.0, "batch": 1}
                yield [
                    config.cell("codec", system, **values, dtype=dtype, compile=compiled)
                    for compiled in (False, True)
                    for dtype in ("float32", "bfloat16")
                ]
    if config.train:
        yield [
            config.cell("train", system, dtype=dtype, batch=4, seconds=0.96)
            for system in config.systems
            for dtype in (("float32", "bfloat16") if system in OURS else ("float32",))
        ]
    yield [config.cell("peak")]


BENCHMARK = Benchmark(
    "codec", groups, too_big, to_markdown, check_targets,
    once=lambda cell: cell["kind"] not in ("codec", "train"),
)  # fmt: skip


def main() -> int:
    """Run the benchmark; 1 when a target is missed."""
    choices = {"systems": NAMES, "sides": SIDES}
    return BENCHMARK.main(__doc__, BenchmarkConfig(), QUICK, choices, "runs/benchmark")


if __name__ == "__main__":
    sys.exit(main())
