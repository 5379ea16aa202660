"""Cells of the generation benchmark."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ..harness import Cell, HarnessConfig, Run, Save, run_cells
from .systems import OPTIONS, SYSTEMS

DTYPES = ("bfloat16", "float32")
CODECS = ("mini", "base")


@dataclass(frozen=True, kw_only=True)
class BenchmarkConfig(HarnessConfig):
    """What to measure."""

    systems: Sequence[str] = tuple(SYSTEMS)
    dtypes: Sequence[str] = DTYPES
    batches: Sequence[int] = (1, 8)
    options: Sequence[str] = OPTIONS  # of ours with depth, in bf16, with their gain
    codecs: Sequence[str] = CODECS
    size: str = "qwen2-0.5b"  # of our backbone: a name of `systems.BACKBONES`
    prompt: int = 128  # rows before the first step
    frames: int = 400  # most frames of one generation
    budget: float = 3.0
    timeout: float = 240.0
    minutes: float = 10.0  # no cell is started later


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
        "lm",
        system,
        size=config.size,
        dtype=kind if kind in ("int8", "int4") else dtype,
        batch=batch,
        option=option,
        prompt=config.prompt,
        frames=config.frames,
    )


def run_benchmark(
    config: BenchmarkConfig,
    *,
    run: Run | None = None,
    save: Save | None = None,
    progress: bool = True,
) -> list[Cell]:
    """Measure everything; the arguments are those of `run_cells`."""
    start = time.perf_counter()

    def skip(cell: Cell, memory_gib: float) -> str | None:
        late = time.perf_counter() - start > 60.0 * config.minutes
        return too_big(cell, memory_gib) or (
            f"left out: {config.minutes:g} minutes were up" if late else None
        )

    return run_cells(
        list(groups(config)),
        config,
        module="benchmarks.lm.cell",
        skip=skip,
        run=run,
        save=save,
        progress=progress,
    )
