"""``python -m benchmarks.lm``: what generating a second of audio costs, beside other models.

Run it from the root of the repository on an idle machine. Every cell is measured in a process of
its own. ``rows.json`` and ``table.md`` are rewritten after every cell; the table tells which
targets of the project are reached. The exit status is 1 when one is missed.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass

from almtok.core.options import advanced, option

from ..harness import Benchmark, Cell, HarnessConfig
from .report import check_targets, to_markdown
from .systems import BACKBONES, OPTIONS, SYSTEMS

DTYPES = ["bfloat16", "float32"]
CODECS = ["mini", "base"]


@dataclass(frozen=True, kw_only=True)
class BenchmarkConfig(HarnessConfig):
    """What to measure."""

    systems: list[str] = option([*SYSTEMS], "models", [*SYSTEMS])
    dtypes: list[str] = option(DTYPES, "precisions", DTYPES)
    batches: list[int] = option([1, 8], "audios at once")
    options: list[str] = option([*OPTIONS], "ways to run the pattern depth in bf16", OPTIONS)
    codecs: list[str] = option(CODECS, "codecs", CODECS)
    size: str = option("qwen2-0.5b", "shape of our backbone", [*BACKBONES])
    prompt: int = option(128, "rows before the first step")
    frames: int = advanced(400, "most frames of one generation")
    budget: float = option(3.0, "seconds of measuring per cell and round")
    timeout: float = option(240.0, "seconds per cell and round")
    minutes: float = option(10.0, "no cell is started later")


QUICK = BenchmarkConfig(
    systems=["depth", "flat"], dtypes=["float32"], batches=[1], options=[], codecs=["mini"],
    size="toy", prompt=16, frames=50, budget=0.1, runs=1,
)  # fmt: skip


def groups(config: BenchmarkConfig) -> Iterator[list[Cell]]:
    """Groups of cells that are compared with each other, the most important first."""
    yield [config.cell("peak")]
    yield [
        config.cell("codec", codec, dtype=dtype, batch=batch, seconds=10.0)
        for batch in config.batches
        for codec in config.codecs
        for dtype in DTYPES
    ]
    main, *others = config.dtypes
    for batch in config.batches:
        yield [_lm(config, system, main, batch) for system in config.systems]
        if config.options and "depth" in config.systems:
            # "packed" again: options are compared within their own group.
            names = ("packed", *(name for name in config.options if name != "packed"))
            yield [_lm(config, "depth", main, batch, option) for option in names]
    for dtype in others:
        # No batches in float32: bfloat16 is twice as fast.
        yield [_lm(config, system, dtype, 1) for system in config.systems]
    yield [config.cell("kernels", batch=batch, size=config.size) for batch in config.batches]
    yield [config.cell("peak")]


def too_big(cell: Cell, memory_gib: float) -> str | None:
    """Why a cell is left out, or None when it should fit."""
    if cell["kind"] != "lm" or (cell["system"] != "csm" and cell["size"] == "toy"):
        return None
    millions = {"csm": 1632.0, "musicgen": 420.0}.get(cell["system"], 550.0)
    size = 2 if cell["dtype"] in ("bfloat16", "int4") else 4  # int8 is made of float32
    # Packed weights stand beside the plain ones; the interpreter and activations come on top.
    copies = 1.0 if cell["system"] in ("csm", "musicgen") else 2.0
    need = 1.5 + copies * size * millions * 1e6 / 2**30
    return f"does not fit: needs about {need:.0f} GiB" if need > memory_gib else None


def _lm(
    config: BenchmarkConfig, system: str, dtype: str, batch: int, option: str = "packed"
) -> Cell:
    kind = option.split()[0]
    return config.cell(
        "lm", system, size=config.size, dtype=kind if kind in ("int8", "int4") else dtype,
        batch=batch, option=option, prompt=config.prompt, frames=config.frames,
    )  # fmt: skip


BENCHMARK = Benchmark("lm", groups, too_big, to_markdown, check_targets)


def main() -> int:
    """Run the benchmark; 1 when a target is missed."""
    return BENCHMARK.main(__doc__, QUICK, "runs/benchmark-lm")


if __name__ == "__main__":
    sys.exit(main())
