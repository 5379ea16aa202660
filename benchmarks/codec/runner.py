"""Runs cells, each in a fresh process, and keeps what they answer."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from .plan import (
    BenchmarkConfig,
    Cell,
    free_gib,
    option_turns,
    peak_cell,
    single_cells,
    too_big,
    train_turn,
    turns,
)

_ROOT = Path(__file__).resolve().parents[2]
Run = Callable[[Cell], Cell]


def run_cell(
    cell: Cell, *, memory_gib: float, timeout: float, module: str = "benchmarks.codec.cell"
) -> Cell:
    """Measure one cell in a process of its own; what goes wrong becomes its ``error``."""
    environment = dict(os.environ, TOKENIZERS_PARALLELISM="false", PYTHONWARNINGS="ignore")
    # GNU OpenMP's busy waiting slows two threads down up to 35 times beside another process;
    # passive waiting costs 5 to 25 % on a quiet machine. For clean figures set it to active.
    environment.setdefault("OMP_WAIT_POLICY", "passive")
    command = [sys.executable, "-m", module]
    question = json.dumps(cell | {"memory_gib": memory_gib})
    try:
        done = subprocess.run(
            [*command, question],
            capture_output=True,
            text=True,
            timeout=timeout,
            cwd=_ROOT,
            env=environment,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return {**cell, "error": f"longer than {timeout:.0f} s"}
    answers = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode == 0 and answers:
        return json.loads(answers[-1])
    lines = done.stderr.strip().splitlines() or [f"ended with {done.returncode}"]
    text = lines[-1]
    if "memory" in text.lower() or done.returncode < 0:
        text = f"out of memory ({memory_gib:.0f} GiB)" if done.returncode > 0 else "was killed"
    return {**cell, "error": text[:200]}


def _middle(answers: Sequence[Cell]) -> Cell:
    """The answer with the median time; its spread over the rounds beside it."""
    good = sorted((a for a in answers if "error" not in a), key=lambda a: a["seconds_wall"])
    if not good:
        return answers[0]
    middle = dict(good[(len(good) - 1) // 2])
    middle["rtf"] = statistics.median(a["rtf"] for a in good)
    if "cpu" in middle:  # training steps have none
        middle["cpu"] = statistics.median(a["cpu"] for a in good)
    middle["rtf_rounds"] = [round(a["rtf"], 5) for a in answers if "error" not in a]
    middle["others"] = max(a["others"] for a in good)
    return middle


def _in_turn(cells: Sequence[Cell], rounds: int, run: Run, memory_gib: float) -> list[Cell]:
    """Measure cells one after the other, several times over, so that all meet the same machine."""
    answers: dict[int, list[Cell]] = {number: [] for number in range(len(cells))}
    for _ in range(rounds):
        for number, cell in enumerate(cells):
            reason = too_big(cell, memory_gib)
            before = answers[number][-1] if answers[number] else {}
            if reason is not None:
                answers[number] = [{**cell, "error": reason}]
            # A cell that failed, or took more than a minute a call, is not worth another round.
            elif "error" not in before and before.get("seconds_wall", 0.0) < 60.0:
                answers[number].append(run(cell))
    return [_middle(answers[number]) for number in range(len(cells))]


def run_benchmark(
    config: BenchmarkConfig,
    *,
    run: Run | None = None,
    save: Callable[[list[Cell]], None] | None = None,
    progress: bool = True,
) -> list[Cell]:
    """Measure everything; rows come back, and go to ``save`` after every group.

    Args:
        config: what to measure.
        run: measures one cell; by default in a process of its own.
        save: gets all rows so far.
        progress: show a progress bar.
    """
    memory = config.memory_gib or 0.9 * free_gib()
    measured = run or (lambda cell: run_cell(cell, memory_gib=memory, timeout=config.timeout))
    rows: list[Cell] = []
    singles = [peak_cell(config), *single_cells(config)]
    groups: list[tuple[list[Cell], int]] = [([cell], 0) for cell in singles]
    groups += [(group, config.rounds) for group in turns(config)]
    if config.options:
        groups += [(group, config.rounds) for group in option_turns(config)]
    if config.train:
        groups.append((train_turn(config), config.rounds))
    groups.append(([peak_cell(config)], 0))
    for group, rounds in tqdm(groups, desc="benchmark", unit="group", disable=not progress):
        if rounds:
            rows += _in_turn(group, rounds, measured, memory)
        else:
            rows += [measured(cell) for cell in group]
        if save is not None:
            save(rows)
    return rows


def environment() -> dict[str, Any]:
    """The machine and the versions, for the head of the report."""
    import platform

    import torch
    import transformers

    name = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo") as file:
            name = next(x.split(":", 1)[1].strip() for x in file if x.startswith("model name"))
    except (OSError, StopIteration):
        pass
    return {
        "processor": name,
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "omp_wait_policy": os.environ.get("OMP_WAIT_POLICY", "passive"),
    }
