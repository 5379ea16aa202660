"""Runs cells, each in a fresh process and in turn, until all are done or the time is up."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from tqdm import tqdm

from ..codec.plan import free_gib
from ..codec.runner import run_cell
from .plan import BenchmarkConfig, Cell, too_big, turns

Run = Callable[[Cell], Cell]


def _middle(answers: Sequence[Cell]) -> Cell:
    """The answer with the median time, and the times of all rounds; the error if all failed."""
    good = [answer for answer in answers if "error" not in answer]
    if not good or "seconds_wall" not in good[0]:
        return answers[0]
    good.sort(key=lambda answer: answer["seconds_wall"])
    return good[(len(good) - 1) // 2] | {
        "rtf_rounds": [round(answer["rtf"], 5) for answer in good],
        "others": max(answer["others"] for answer in good),
    }


def run_benchmark(
    config: BenchmarkConfig,
    *,
    run: Run | None = None,
    save: Callable[[list[Cell]], None] | None = None,
    progress: bool = True,
) -> list[Cell]:
    """Measure everything; rows come back, and go to ``save`` after every cell.

    Args:
        config: what to measure.
        run: measures one cell; by default in a process of its own.
        save: gets all rows so far.
        progress: show a progress bar.
    """
    memory = config.memory_gib or 0.9 * free_gib()
    begin = time.perf_counter()

    def alone(cell: Cell) -> Cell:
        return run_cell(
            cell, memory_gib=memory, timeout=config.timeout, module="benchmarks.lm.cell"
        )

    def measured(cell: Cell, before: list[Cell]) -> Cell | None:
        reason = too_big(cell, memory)
        if reason is None and time.perf_counter() - begin > 60.0 * config.minutes:
            reason = f"left out: {config.minutes:g} minutes were up"
        # A cell that failed is not worth another round, nor is one that the time ended.
        if before and (reason is not None or "error" in before[-1]):
            return None
        return {**cell, "error": reason} if reason is not None else (run or alone)(cell)

    rows: list[Cell] = []
    groups = list(turns(config))
    total = config.rounds * sum(len(group) for group in groups)
    with tqdm(total=total, desc="benchmark", unit="cell", disable=not progress) as bar:
        for group in groups:
            answers: list[list[Cell]] = [[] for _ in group]
            for _ in range(config.rounds):
                for cell, known in zip(group, answers, strict=True):
                    bar.set_postfix_str(_name(cell))
                    answer = measured(cell, known)
                    if answer is not None:
                        known.append(answer)
                    if save is not None:
                        save(rows + [_middle(some) for some in answers if some])
                    bar.update()
            rows += [_middle(some) for some in answers]
    return rows


def _name(cell: Cell) -> str:
    parts = (cell["kind"], cell["system"], cell.get("dtype"), cell.get("batch"), cell.get("option"))
    return " ".join(str(part) for part in parts if part)
