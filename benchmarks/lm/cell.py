"""Measurements of generation: ``python -m benchmarks.lm.cell '{"kind": "lm", ...}'``."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable

from ..harness import Cell, cell_main, measure_cell, timed_cell
from ..timing import measure, peak_mb
from .systems import BACKBONES, SYSTEMS

_READ = 64 * 2**20  # numbers of 4 bytes: far beyond every cache


def run(cell: Cell) -> Cell:
    """Measure a cell in this process."""
    import torch

    kinds = {"lm": _lm, "codec": _codec, "kernels": _kernels, "peak": _peak}
    with torch.no_grad():
        return measure_cell(kinds, cell)


def _lm(cell: Cell) -> Cell:
    import torch

    from almtok.core.linear import unpacked

    from .models import build, floats_of

    if cell["option"] == "compile":
        import torch._inductor.config as inductor

        inductor.freezing = True  # weights packed by the compiler: no gain without it
    with unpacked() if cell["option"] == "plain" else contextlib.nullcontext():
        model = build(cell)
        before = peak_mb()
        model.prefill()  # packs the weights
        for _ in range(3):  # a compiled step is compiled here, in minutes
            model.step()
        start = time.perf_counter()
        model.prefill()
        prefill = time.perf_counter() - start
        spent, heads = 0.0, model.heads_seconds()

        def step() -> None:
            nonlocal spent
            start = time.perf_counter()
            model.step()
            spent += time.perf_counter() - start

        row = timed_cell(step, cell, SYSTEMS[cell["system"]].steps_per_second / cell["batch"])
        share = (model.heads_seconds() - heads) / spent
    return row | {
        "rtf_heads": row["rtf"] * share,
        "ms_step": 1000.0 * row["seconds_wall"],
        "prefill_rows": cell["batch"] * cell["prompt"] / prefill,
        # The commands decode in the precision of what lies between the model's weights.
        "codec_dtype": str(floats_of(cell["dtype"])).removeprefix("torch."),
        "parameters": model.parameters,
        "main_bytes": model.main_bytes,
        "heads_bytes": model.heads_bytes,
        "mb_model": round(before),
        "torch_threads": torch.get_num_threads(),
    }


def _codec(cell: Cell) -> Cell:
    """Codes to waveform, offline, in the precision of the language model, as the commands do."""
    from ..codec.systems import build

    system = build(cell["system"], dtype=cell["dtype"])
    codes = system.codes(cell["batch"], cell["seconds"])
    scale = 1.0 / (cell["batch"] * cell["seconds"])
    return timed_cell(lambda: system.decode(codes), cell, scale)


def _kernels(cell: Cell) -> Cell:
    """One linear map of the backbone by every kernel there is, read from memory each time."""
    import torch
    from torch import nn

    from almtok.core.linear import Linear, unpacked
    from almtok.lm.quantize import Int4Linear, Int8Linear

    shape = BACKBONES[cell["size"]]
    wide, out = shape["hidden_size"], shape["intermediate_size"]
    # Together more than any cache holds, so that each call finds its weights in memory.
    count = max(2, round(2e8 / (2 * wide * out))) if cell["size"] != "toy" else 2
    half, rates, others = torch.bfloat16, {}, 0.0
    makers: dict[str, tuple[Callable[[], nn.Module], torch.dtype]] = {
        "float32": (lambda: Linear(wide, out, bias=False), torch.float32),
        "bfloat16": (lambda: Linear(wide, out, bias=False, dtype=half), half),
        "int8": (lambda: Int8Linear(nn.Linear(wide, out, bias=False)), torch.float32),
        "int4": (lambda: Int4Linear(nn.Linear(wide, out, bias=False)), half),
    }
    for name, (make, dtype) in makers.items():
        x = torch.randn(cell["batch"], 1, wide, dtype=dtype)
        maps = [make() for _ in range(count)]
        width = {"float32": 4, "bfloat16": 2, "int8": 1, "int4": Int4Linear.bits / 8}[name]
        size = width * wide * out * count
        for packed in (True, False) if width > 1 else (True,):
            with contextlib.nullcontext() if packed else unpacked():
                timing = measure(
                    lambda maps=maps, x=x: [layer(x) for layer in maps], budget=cell["budget"] / 3
                )
            rates[name if packed else f"{name}, not packed"] = {
                "gb_per_second": size / timing.fastest / 1e9,
                "ms": 1000.0 * timing.median / count,
            }
            others = max(others, timing.others)
    return {"kernels": rates, "others": round(others, 3)}


def _peak(cell: Cell) -> Cell:
    """How fast this machine reads memory, all threads, GB/s."""
    import torch

    numbers = torch.ones(_READ)
    timing = measure(numbers.sum, budget=cell["budget"])
    return {
        "read_gb_per_second": numbers.nbytes / timing.fastest / 1e9,
        "others": round(timing.others, 3),
    }


if __name__ == "__main__":
    cell_main(run)
