"""``python -m benchmarks.codec``: what the codec costs beside other codecs.

Run it from the root of the repository on an idle machine. Every cell is measured in a process of
its own. ``rows.json`` and ``table.md`` are rewritten after every cell; the table tells which
targets of the project are reached. The exit status is 1 when one is missed.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass

from almtok.core.options import option

from ..harness import Benchmark, Cell, HarnessConfig
from .report import check_targets, to_markdown
from .systems import NAMES, OURS, PEERS

SIDES = ["encode", "decode", "both"]
OUR_MB_PER_SECOND = 0.4  # of audio: input and output; the activations are constant


@dataclass(frozen=True, kw_only=True)
class BenchmarkConfig(HarnessConfig):
    """What to measure."""

    systems: list[str] = option(["mini", "base", "encodec", "mimi", "dac"], "codecs", NAMES)
    seconds: list[float] = option([1.0, 10.0, 60.0, 300.0, 3600.0], "lengths of clips")
    batches: list[int] = option([1, 8], "clips at once")
    sides: list[str] = option(SIDES, "directions", SIDES)
    rounds: int = option(3, "measurements of every cell")
    options: bool = option(True, "measure bfloat16 and torch.compile")
    train: bool = option(True, "measure training steps")
    stream: bool = option(True, "measure steps of streams")


QUICK = BenchmarkConfig(
    systems=["tiny", "encodec"], seconds=[1.0], batches=[1], sides=["encode", "decode"],
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
    ours, all_of = [name for name in config.systems if name in OURS], config.systems
    one_way, longest = SIDES[:2], min(10.0, max(config.seconds))
    precisions = ("float32", "bfloat16")
    yield [config.cell("peak")]
    yield [config.cell("facts", name) for name in all_of]
    yield [config.cell("parts", name, seconds=longest, dtype="float32") for name in ours]
    if config.stream:
        yield [config.cell("stream", n, side=s, dtype="float32") for n in ours for s in one_way]

    def clips(name: str, side: str, seconds: float, batch: int, dtype: str, compiled: bool) -> Cell:
        values = {"side": side, "seconds": seconds, "batch": batch}
        return config.cell("codec", name, **values, dtype=dtype, compile=compiled)

    for batch in config.batches:
        for seconds in config.seconds:
            if seconds * batch <= 4000:  # eight times an hour would take too long
                for side in config.sides:
                    yield [clips(name, side, seconds, batch, "float32", False) for name in all_of]
    if config.options:
        for name in ours:
            for side in one_way:
                ways = [(dtype, compiled) for compiled in (False, True) for dtype in precisions]
                yield [clips(name, side, 10.0, 1, *way) for way in ways]
    if config.train:
        yield [
            config.cell("train", name, dtype=dtype, batch=4, seconds=0.96)
            for name in all_of
            for dtype in (precisions if name in OURS else precisions[:1])
        ]
    yield [config.cell("peak")]


BENCHMARK = Benchmark(
    "codec", groups, too_big, to_markdown, check_targets,
    once=lambda cell: cell["kind"] not in ("codec", "train"),
)  # fmt: skip


def main() -> int:
    """Run the benchmark; 1 when a target is missed."""
    return BENCHMARK.main(__doc__, QUICK, "runs/benchmark")


if __name__ == "__main__":
    sys.exit(main())
