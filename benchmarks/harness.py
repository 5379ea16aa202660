"""Shared by the benchmarks: cells in processes of their own, in turn; targets; reports.

A cell is a measurement, described by a dictionary of JSON values. Its row is the cell with the
results, or with an ``error``. ``Benchmark.run`` measures all cells of a group one after the other
before it starts the next round, so that changes of the load of the machine affect all of them.
"""

from __future__ import annotations

import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from almtok.core.files import write_json, write_text
from almtok.core.options import Command, advanced, given_fields, option

from .timing import free_gib, measure, peak_mb

ROOT = Path(__file__).resolve().parents[1]
# Above this share of the machine used by other processes, wall-clock times are not judged.
BUSY = 0.15
SHORT = {"bfloat16": "bf16", "float32": "fp32", "int8": "int8", "int4": "int4"}
_SLOW_SECONDS = 60.0  # calls of this duration are measured in one round only

Cell = dict[str, Any]
Run = Callable[[Cell], Cell]


@dataclass(frozen=True, kw_only=True)
class HarnessConfig:
    """Options of every benchmark."""

    rounds: int = option(1, "measurements of every cell")
    budget: float = option(4.0, "seconds of measuring per cell and round")
    runs: int = advanced(3, "minimum number of calls per cell and round")
    threads: int = option(0, "of torch; 0: all cores")
    memory_gib: float = option(0.0, "limit per cell; 0: nine tenths of the available memory")
    timeout: float = option(600.0, "seconds per cell and round")
    minutes: float = option(float("inf"), "no cell is started later")

    def cell(self, kind: str, system: str = "", **values: Any) -> Cell:
        """A cell with the options that all cells have."""
        common = {"budget": self.budget, "runs": self.runs, "threads": self.threads}
        return {"kind": kind, "system": system, **common, **values}


def run_cell(cell: Cell, *, module: str, memory_gib: float, timeout: float) -> Cell:
    """Measure a cell in a new process: ``python -m MODULE CELL`` prints its row as JSON.

    Args:
        cell: to measure.
        module: calls `cell_main`.
        memory_gib: limit of the process.
        timeout: seconds.
    """
    environment = dict(os.environ, TOKENIZERS_PARALLELISM="false", PYTHONWARNINGS="ignore")
    # Active waiting of GNU OpenMP makes two threads up to 35 times slower beside another process;
    # passive waiting costs 5 to 25 % on an idle machine.
    environment.setdefault("OMP_WAIT_POLICY", "passive")
    command = [sys.executable, "-m", module, json.dumps(cell | {"memory_gib": memory_gib})]
    options = {"capture_output": True, "text": True, "cwd": ROOT, "env": environment}
    try:
        done = subprocess.run(command, timeout=timeout, check=False, **options)
    except subprocess.TimeoutExpired:
        return {**cell, "error": f"longer than {timeout:.0f} s"}
    answers = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode == 0 and answers:
        return json.loads(answers[-1])
    text = (done.stderr.strip().splitlines() or [f"ended with {done.returncode}"])[-1]
    if "memory" in text.lower() or done.returncode < 0:
        text = f"out of memory ({memory_gib:.0f} GiB)" if done.returncode > 0 else "was killed"
    return {**cell, "error": text[:200]}


def measure_cell(kinds: Mapping[str, Run], cell: Cell) -> Cell:
    """Measure a cell in this process by the function for its kind."""
    import torch

    if cell.get("threads"):
        torch.set_num_threads(cell["threads"])
    torch.manual_seed(0)
    return {**cell, **kinds[cell["kind"]](cell)}


def timed_cell(call: Callable[[], Any], cell: Cell, scale: float) -> Cell:
    """Results of timing a call; `scale` is the number of calls per second of audio."""
    timing = measure(call, budget=cell["budget"], runs=cell["runs"])
    return {
        "seconds_wall": timing.median,
        "rtf": scale * timing.median,
        "rtf_fastest": scale * timing.fastest,
        "cpu": scale * timing.cpu,
        "runs_done": timing.runs,
        "others": round(timing.others, 3),
        "mb_peak": round(peak_mb()),
    }


def cell_main(run: Run) -> None:
    """Measure the cell in ``sys.argv[1]`` and print its row."""
    cell = json.loads(sys.argv[1])
    if cell.get("memory_gib"):
        limit = int(cell["memory_gib"] * 2**30)
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    print(json.dumps(run(cell)))


def _median(answers: Sequence[Cell]) -> Cell:
    """The row with the median time, and the times of all rounds."""
    good = [answer for answer in answers if "error" not in answer]
    if not good or "seconds_wall" not in good[0]:
        return answers[0]
    times = [round(answer["rtf"], 5) for answer in good]
    good.sort(key=lambda answer: answer["seconds_wall"])
    row = good[(len(good) - 1) // 2] | {"rtf_rounds": times}
    if "cpu" in row:
        row["cpu"] = statistics.median(answer["cpu"] for answer in good)
    return row | {"others": max(answer["others"] for answer in good)}


@dataclass(frozen=True)
class Check:
    """A target and its result."""

    text: str
    measured: str
    passed: bool | None  # None: not measured, or other processes used the machine


def check(
    text: str, value: float | None, form: str, good: Callable[[float], bool], why: str = ""
) -> Check:
    """Judge a value, shown by a format such as ``"{:.1f} ms"``; None: not measured, or `why`."""
    if value is None:
        return Check(text, why or "not measured", None)
    return Check(text, form.format(value), good(value))


class Rows:
    """The rows of a run, with queries."""

    def __init__(self, rows: Iterable[Cell]) -> None:
        self.all = list(rows)

    def of_kind(self, kind: str, **values: Any) -> list[Cell]:
        """Rows of a kind with these values that did not fail."""
        wanted = {"kind": kind, **values}.items()
        return [row for row in self.all if wanted <= row.items() and "error" not in row]

    def find(self, kind: str, **values: Any) -> Cell | None:
        """The first row of a kind with these values, failed ones included."""
        wanted = {"kind": kind, **values}.items()
        return next((row for row in self.all if wanted <= row.items()), None)

    def measured(self, kind: str, **values: Any) -> Cell | None:
        """The first row of a kind with these values that did not fail."""
        return next(iter(self.of_kind(kind, **values)), None)


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table, first column left, others right; ``""`` without rows."""
    if not rows:
        return ""
    rule = ["---", *["---:"] * (len(head) - 1)]
    return "\n".join("| " + " | ".join(row) + " |" for row in (head, rule, *rows))


def table_of(rows: Iterable[Cell], columns: Mapping[str, Callable[[Cell], str]]) -> str:
    """A Markdown table of rows; a column is its heading and the text of a row's cell."""
    return markdown_table([*columns], [[text(row) for text in columns.values()] for row in rows])


def target_table(checks: Sequence[Check]) -> str:
    """Targets as a Markdown table."""
    marks = {True: "yes", False: "**no**", None: "?"}
    rows = [[check.text, check.measured, marks[check.passed]] for check in checks]
    return markdown_table(["target", "measured", "reached"], rows)


def busy_note(rows: Sequence[Cell]) -> str:
    """A sentence on the load by other processes, ``""`` if it was not measured."""
    busy = sorted(row["others"] for row in rows if "others" in row)
    if not busy:
        return ""
    return (
        f" Other processes took up to {100 * busy[-1]:.0f} % of the machine during a cell"
        f" (median {100 * busy[len(busy) // 2]:.0f} %)."
    )


def join_sections(sections: Sequence[tuple[str, str]]) -> str:
    """Headings and their texts as Markdown; sections without text are left out."""
    return "\n\n".join(f"{head}\n\n{body}".strip() for head, body in sections if body) + "\n"


def environment() -> dict[str, Any]:
    """The machine and the versions, for the head of a report."""
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


@dataclass(frozen=True)
class Benchmark:
    """What differs between the benchmarks of codecs and of language models."""

    name: str  # package in `benchmarks`
    groups: Callable[[Any], Iterable[list[Cell]]]  # cells to compare with each other
    skip: Callable[[Cell, float], str | None]  # cell, limit in GiB -> why not to measure it
    to_markdown: Callable[[Sequence[Cell], Mapping[str, Any]], str]  # rows, environment -> report
    check_targets: Callable[[Sequence[Cell]], list[Check]]
    once: Callable[[Cell], bool] = lambda cell: False  # whether one round is enough

    def run(
        self,
        config: HarnessConfig,
        *,
        run: Run | None = None,
        save: Callable[[list[Cell]], None] = lambda rows: None,
        progress: bool = True,
    ) -> list[Cell]:
        """Measure all groups of cells; the row of a cell is the median of its rounds.

        Args:
            config: rounds and limits.
            run: measures a cell, by default `run_cell`.
            save: called with all rows so far after every measurement.
            progress: show a progress bar.
        """
        memory, start = config.memory_gib or 0.9 * free_gib(), time.perf_counter()
        options = {"memory_gib": memory, "timeout": config.timeout}
        run = run or (lambda cell: run_cell(cell, module=f"benchmarks.{self.name}.cell", **options))
        groups = list(self.groups(config))
        rows: list[Cell] = []
        total = config.rounds * sum(map(len, groups))
        with tqdm(total=total, desc="benchmark", unit="cell", disable=not progress) as bar:
            for group in groups:
                answers: list[list[Cell]] = [[] for _ in group]
                for cell, results in [*zip(group, answers, strict=True)] * config.rounds:
                    bar.set_postfix_str(f"{cell['kind']} {cell['system']}")
                    bar.update()
                    if results and (self.once(cell) or _final(results[-1])):
                        continue
                    reason = self.skip(cell, memory)
                    if time.perf_counter() - start > 60.0 * config.minutes:
                        reason = reason or f"left out: {config.minutes:g} minutes were up"
                    if reason is None:
                        results.append(run(cell))
                    elif not results:
                        results.append({**cell, "error": reason})
                    save(rows + [_median(found) for found in answers if found])
                rows += [_median(found) for found in answers]
        return rows

    def main(self, about: str | None, quick: HarnessConfig, out: str) -> int:
        """Run the command line and write ``rows.json`` and ``table.md``; 1 if a target is missed.

        Args:
            about: description of the command.
            quick: configuration of ``--quick``; the fields of its class are options.
            out: default folder of the results.
        """
        parser = Command(prog=f"python -m benchmarks.{self.name}", description=about)
        parser.add_fields(type(quick))
        parser.add_argument("--quick", action="store_true", help="a smoke test of a minute")
        parser.add_argument("--out", default=Path(out), help="folder")
        args = parser.parse_args()
        config = type(quick)(**given_fields(args, type(quick)))
        if args.quick:
            config = replace(quick, threads=config.threads)
        machine = environment()

        def save(rows: list[Cell]) -> None:
            write_json(args.out / "rows.json", {"environment": machine, "rows": rows})
            write_text(args.out / "table.md", self.to_markdown(rows, machine))

        rows = self.run(config, save=save)
        print(self.to_markdown(rows, machine))
        print(f"rows.json and table.md are in {args.out}")
        return 1 if any(check.passed is False for check in self.check_targets(rows)) else 0


def _final(row: Cell) -> bool:
    """Whether a cell is not measured again: it failed or is slow."""
    return "error" in row or row.get("seconds_wall", 0.0) >= _SLOW_SECONDS
