"""Measurements of codecs: ``python -m benchmarks.codec.cell '{"kind": "codec", ...}'``."""

from __future__ import annotations

import time
from typing import Any

from ..harness import Cell, cell_main, measure_cell, timed_cell
from ..timing import measure, peak_mb
from .systems import build

SAMPLE_RATE = 24_000


def run(cell: Cell) -> Cell:
    """Measure a cell in this process."""
    kinds = {
        "codec": _codec,
        "train": _train,
        "stream": _stream,
        "parts": _parts,
        "facts": _facts,
        "peak": _peak,
    }
    return measure_cell(kinds, cell)


def _noise(batch: int, seconds: float) -> Any:
    import torch

    # In place: at one hour a second copy would be a third of the memory that is measured.
    return torch.randn(batch, 1, max(1, round(seconds * SAMPLE_RATE))).mul_(0.1)


def _codec(cell: Cell) -> Cell:
    import torch

    system = build(cell["system"], dtype=cell["dtype"], compiled=cell["compile"])
    batch, seconds, side = cell["batch"], cell["seconds"], cell["side"]
    data = system.codes(batch, seconds) if side == "decode" else _noise(batch, seconds)
    calls = {
        "encode": lambda: system.encode(data),
        "decode": lambda: system.decode(data),
        "both": lambda: system.decode(system.encode(data)),
    }
    before = peak_mb()
    with torch.no_grad():
        if cell["compile"]:  # minutes, and no part of the price of a call
            calls[side](), calls[side]()
        return timed_cell(calls[side], cell, 1.0 / (batch * seconds)) | {"mb_model": round(before)}


def _train(cell: Cell) -> Cell:
    import torch

    system = build(cell["system"])
    system.model.train()
    wav = _noise(cell["batch"], cell["seconds"])
    bf16 = cell["dtype"] == "bfloat16"

    def step() -> None:
        system.model.zero_grad(set_to_none=True)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
            out, other = system.step(wav)
            out = out.reshape(wav.shape[0], 1, -1)
            n = min(out.shape[-1], wav.shape[-1])
            loss = (out[..., :n].float() - wav[..., :n]).abs().mean() + other
        loss.backward()

    row = timed_cell(step, cell, 1.0 / (cell["batch"] * cell["seconds"]))
    trained = sum(p.grad is not None for p in system.model.parameters())
    return row | {"with_gradient": trained}


def _stream(cell: Cell) -> Cell:
    """Milliseconds of one step of a stream: one column of codes, by default 80 ms of audio."""
    import torch

    system = build(cell["system"], dtype=cell["dtype"])
    chunk = round(SAMPLE_RATE / system.frame_rate)
    walls: list[float] = []
    with torch.no_grad():
        if cell["side"] == "encode":
            stream, pieces = system.model.stream_encoder(), list(_noise(1, 30.0).split(chunk, -1))
        else:
            stream, pieces = system.model.stream_decoder(), list(system.codes(1, 30.0).split(1, -1))
        for piece in pieces:
            start = time.perf_counter()
            stream.push(piece)
            walls.append(1000.0 * (time.perf_counter() - start))
    # The first steps warm up, and until the attention window is full they are cheaper.
    walls = sorted(walls[len(walls) // 2 :])
    return {
        "ms_audio": 1000.0 / system.frame_rate,
        "ms_median": walls[len(walls) // 2],
        "ms_95": walls[int(0.95 * (len(walls) - 1))],
        "mb_peak": round(peak_mb()),
    }


# Part -> (side, method that does its work) in the order of the data.
_WORK = {
    "patchify": ("encode", "step"),
    "encoder": ("encode", "step"),
    "quantizer": ("encode", "quantize"),
    "decoder": ("decode", "step"),
    "unpatchify": ("decode", "step"),
}


def _parts(cell: Cell) -> Cell:
    """Where the time of our codec goes: seconds per part and per second of audio, and FLOPs."""
    import torch

    from almtok.codec.plan import make_plan

    system = build(cell["system"], dtype=cell["dtype"])
    spent = dict.fromkeys(_WORK, 0.0)

    def wrap(part: str, method: str) -> None:
        module = getattr(system.model, part)
        inner = getattr(module, method)

        def timed(*args: Any, **kwargs: Any) -> Any:
            start = time.perf_counter()
            out = inner(*args, **kwargs)
            spent[part] += time.perf_counter() - start
            return out

        setattr(module, method, timed)

    for part, (_, method) in _WORK.items():
        wrap(part, method)
    wav, codes = _noise(1, cell["seconds"]), system.codes(1, cell["seconds"])
    with torch.no_grad():
        system.encode(wav), system.decode(codes)
        spent.update(dict.fromkeys(spent, 0.0))
        start, rounds = time.perf_counter(), 0
        while rounds < 3 or time.perf_counter() - start < cell["budget"]:
            system.encode(wav), system.decode(codes)
            rounds += 1
        whole = (time.perf_counter() - start) / rounds / cell["seconds"]
    plan = make_plan(system.model.config)
    parts = {part: seconds / rounds / cell["seconds"] for part, seconds in spent.items()}
    return {"parts": parts, "flops": plan.flops, "rest": whole - sum(parts.values())}


def _facts(cell: Cell) -> Cell:
    system = build(cell["system"])
    encode, decode = system.flops()
    count = sum(p.numel() for p in system.model.parameters())
    return {"parameters": count, "flops_encode": encode, "flops_decode": decode}


def _peak(cell: Cell) -> Cell:
    """What this machine reaches at best: a wide convolution in cache, and a matrix product."""
    import torch
    import torch.nn.functional as F

    x, weight = torch.randn(1, 512, 3000), torch.randn(512, 512, 3)
    a = torch.randn(2048, 2048)
    half = a.bfloat16()
    work = 2.0 * 512 * 512 * 3 * 3000
    jobs = {
        "convolution fp32": (lambda: F.conv1d(x, weight, padding=1), work),
        "matrix product fp32": (lambda: a @ a, 2.0 * 2048**3),
        "matrix product bf16": (lambda: half @ half, 2.0 * 2048**3),
    }
    rates, others = {}, 0.0
    with torch.no_grad():
        for name, (job, flops) in jobs.items():
            timing = measure(job, budget=cell["budget"])
            rates[name], others = flops / timing.fastest / 1e9, max(others, timing.others)
    return {"gflops": rates, "others": round(others, 3)}


if __name__ == "__main__":
    cell_main(run)
