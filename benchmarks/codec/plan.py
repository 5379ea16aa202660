"""Which cells are measured, in which order, and which are left out because they cannot run."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ..results import Cell
from .systems import OURS, PEERS

SIDES = ("encode", "decode", "both")
# Beside the model: input and output of an hour are 0.7 GB, activations are constant.
_OUR_MB_PER_SECOND = 0.4


@dataclass(frozen=True, kw_only=True)
class BenchmarkConfig:
    """What to measure."""

    systems: Sequence[str] = ("mini", "base", "encodec", "mimi", "dac")
    seconds: Sequence[float] = (1.0, 10.0, 60.0, 300.0, 3600.0)
    batches: Sequence[int] = (1, 8)
    sides: Sequence[str] = SIDES
    rounds: int = 3  # times that every cell is measured, all systems in turn within each round
    budget: float = 4.0  # seconds of measuring per cell and round
    runs: int = 3
    threads: int = 0  # 0: what torch takes
    memory_gib: float = 0.0  # limit per cell; 0: nine tenths of what is free
    timeout: float = 600.0
    options: bool = True  # bf16 and compile, with their gain
    train: bool = True
    stream: bool = True


def free_gib() -> float:
    """Memory that is free on this machine, in GiB."""
    try:
        with open("/proc/meminfo") as file:
            for line in file:
                if line.startswith("MemAvailable:"):
                    return int(line.split()[1]) / 2**20
    except OSError:
        pass
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30


def too_big(cell: Cell, memory_gib: float) -> str | None:
    """Why a cell is left out, or None when it should fit."""
    audio = cell["seconds"] * cell["batch"]
    per_second = PEERS[cell["system"]].mb_per_second if cell["system"] in PEERS else 0.0
    need = (800.0 + audio * max(per_second, _OUR_MB_PER_SECOND)) / 1024.0
    if need > memory_gib:
        return f"does not fit: needs about {need:.0f} GiB"
    # DAC takes 0.5 to 0.8 s of two cores per second of audio: minutes per cell teach nothing new.
    if cell["system"] == "dac" and audio > 100:
        return "left out: slower than 0.4 of real time"
    return None


def turns(config: BenchmarkConfig) -> Iterator[list[Cell]]:
    """Groups of cells that are compared with each other: all systems on one input and side."""
    for batch in config.batches:
        for seconds in config.seconds:
            # An hour eight times over is eight hours: nobody's question, and too long to wait for.
            if seconds * batch > 4000:
                continue
            for side in config.sides:
                yield [_codec(config, system, side, seconds, batch) for system in config.systems]


def option_turns(config: BenchmarkConfig) -> Iterator[list[Cell]]:
    """Our codecs at 10 s plain, in bf16 and compiled, in turn."""
    variants = [("float32", False), ("bfloat16", False), ("float32", True), ("bfloat16", True)]
    for system in config.systems:
        if system in OURS:
            for side in ("encode", "decode"):
                yield [
                    _codec(config, system, side, 10.0, 1, dtype=dtype, compiled=compiled)
                    for dtype, compiled in variants
                ]


def train_turn(config: BenchmarkConfig) -> list[Cell]:
    """One training step of every system: 4 x 0.96 s, generator only, L1 loss."""
    return [
        _common(config, "train", system) | {"dtype": dtype, "batch": 4, "seconds": 0.96}
        for system in config.systems
        for dtype in (("float32", "bfloat16") if system in OURS else ("float32",))
    ]


def single_cells(config: BenchmarkConfig) -> list[Cell]:
    """What is measured once: the machine, sizes and FLOPs, parts of ours, streams of ours."""
    ours = [system for system in config.systems if system in OURS]
    longest = min(10.0, max(config.seconds))
    cells = [_common(config, "facts", system) for system in config.systems]
    cells += [
        _common(config, "parts", system) | {"seconds": longest, "dtype": "float32"}
        for system in ours
    ]
    if config.stream:
        cells += [
            _common(config, "stream", system) | {"side": side, "dtype": "float32"}
            for system in ours
            for side in ("encode", "decode")
        ]
    return cells


def peak_cell(config: BenchmarkConfig) -> Cell:
    """What the machine reaches; measured before and after everything else."""
    return _common(config, "peak", "")


def _common(config: BenchmarkConfig, kind: str, system: str) -> Cell:
    return {
        "kind": kind,
        "system": system,
        "budget": config.budget,
        "runs": config.runs,
        "threads": config.threads,
    }


def _codec(
    config: BenchmarkConfig,
    system: str,
    side: str,
    seconds: float,
    batch: int,
    *,
    dtype: str = "float32",
    compiled: bool = False,
) -> Cell:
    return _common(config, "codec", system) | {
        "side": side,
        "seconds": seconds,
        "batch": batch,
        "dtype": dtype,
        "compile": compiled,
    }
