"""Cells of the codec benchmark."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ..harness import Cell, HarnessConfig, Run, Save, run_cells
from .systems import OURS, PEERS

SIDES = ("encode", "decode", "both")
OUR_MB_PER_SECOND = 0.4  # of audio: input and output; the activations are constant


@dataclass(frozen=True, kw_only=True)
class BenchmarkConfig(HarnessConfig):
    """What to measure."""

    systems: Sequence[str] = ("mini", "base", "encodec", "mimi", "dac")
    seconds: Sequence[float] = (1.0, 10.0, 60.0, 300.0, 3600.0)
    batches: Sequence[int] = (1, 8)
    sides: Sequence[str] = SIDES
    rounds: int = 3
    options: bool = True  # bfloat16 and torch.compile
    train: bool = True
    stream: bool = True


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
                    yield [
                        _codec(config, system, side, seconds, batch) for system in config.systems
                    ]
    if config.options:
        variants = [("float32", False), ("bfloat16", False), ("float32", True), ("bfloat16", True)]
        for system in ours:
            for side in ("encode", "decode"):
                yield [_codec(config, system, side, 10.0, 1, *variant) for variant in variants]
    if config.train:
        yield [
            config.cell("train", system, dtype=dtype, batch=4, seconds=0.96)
            for system in config.systems
            for dtype in (("float32", "bfloat16") if system in OURS else ("float32",))
        ]
    yield [config.cell("peak")]


def _codec(
    config: BenchmarkConfig,
    system: str,
    side: str,
    seconds: float,
    batch: int,
    dtype: str = "float32",
    compiled: bool = False,
) -> Cell:
    return config.cell(
        "codec",
        system,
        side=side,
        seconds=seconds,
        batch=batch,
        dtype=dtype,
        compile=compiled,
    )


def run_benchmark(
    config: BenchmarkConfig,
    *,
    run: Run | None = None,
    save: Save | None = None,
    progress: bool = True,
) -> list[Cell]:
    """Measure everything; the arguments are those of `run_cells`."""
    return run_cells(
        list(groups(config)),
        config,
        module="benchmarks.codec.cell",
        skip=too_big,
        once=lambda cell: cell["kind"] not in ("codec", "train"),
        run=run,
        save=save,
        progress=progress,
    )
