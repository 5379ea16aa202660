"""Which cells are measured, in which order, and which are left out because they cannot run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ..results import Cell
from .systems import OPTIONS, SYSTEMS

DTYPES = ("bfloat16", "float32")
CODECS = ("mini", "base")


@dataclass(frozen=True, kw_only=True)
class BenchmarkConfig:
    """What to measure."""

    systems: Sequence[str] = tuple(SYSTEMS)
    dtypes: Sequence[str] = DTYPES
    batches: Sequence[int] = (1, 8)
    options: Sequence[str] = OPTIONS  # of ours with depth, in bf16, with their gain
    codecs: Sequence[str] = CODECS
    size: str = "qwen2-0.5b"  # of our backbone: a name of `systems.BACKBONES`
    prompt: int = 128  # rows before the first step
    frames: int = 400  # most frames of one generation
    rounds: int = 1  # times that every cell is measured, all systems in turn within each round
    budget: float = 3.0  # seconds of measuring per cell and round
    runs: int = 3
    threads: int = 0  # 0: what torch takes
    memory_gib: float = 0.0  # limit per cell; 0: nine tenths of what is free
    timeout: float = 240.0  # seconds per cell
    minutes: float = 10.0  # after which no cell is begun


def turns(config: BenchmarkConfig) -> Iterator[list[Cell]]:
    """Groups of cells that are compared with each other; what matters most comes first."""
    yield [_common(config, "peak")]
    yield [
        _common(config, "codec")
        | {"system": codec, "dtype": dtype, "batch": batch, "seconds": 10.0}
        for batch in config.batches
        for codec in config.codecs
        for dtype in DTYPES
    ]
    main, *others = config.dtypes
    for batch in config.batches:
        yield [_lm(config, system, main, batch) for system in config.systems]
        if config.options and "depth" in config.systems:
            # The usual way again: options are compared within their own turn.
            names = ("packed", *(name for name in config.options if name != "packed"))
            yield [_lm(config, "depth", main, batch, option) for option in names]
    for dtype in others:
        # Batches in float32 are nobody's choice where bfloat16 is twice as fast.
        yield [_lm(config, system, dtype, 1) for system in config.systems]
    yield [
        _common(config, "kernels") | {"batch": batch, "size": config.size}
        for batch in config.batches
    ]
    yield [_common(config, "peak")]


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
    return _common(config, "lm") | {
        "system": system,
        "size": config.size,
        "dtype": kind if (kind := option.split()[0]) in ("int8", "int4") else dtype,
        "batch": batch,
        "option": option,
        "prompt": config.prompt,
        "frames": config.frames,
    }


def _common(config: BenchmarkConfig, kind: str) -> Cell:
    return {
        "kind": kind,
        "system": "",
        "budget": config.budget,
        "runs": config.runs,
        "threads": config.threads,
    }
