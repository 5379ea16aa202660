"""How well language models predict each layer of codes: one table of several runs."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from almtok.core.files import write_text


def last_validation(run: Path) -> dict[str, Any]:
    """What the last validation of a run measured, by task.

    Raises:
        ValueError: the run has none.
    """
    path = run / "metrics.jsonl"
    if not path.is_file():
        raise ValueError(f"{run} is no run folder: it has no metrics.jsonl")
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    found = [line["validation"] for line in lines if "validation" in line]
    if not found:
        raise ValueError(f"{run} has no validation: it needs held-out tokens")
    return dict(found[-1])


def table(runs: Sequence[Path]) -> str:
    """Markdown: nats and accuracy of each layer, for the first task of each run."""
    rows = []
    for run in runs:
        task = next(iter(last_validation(run).values()))
        layers = sorted(name for name in task["losses"] if name.startswith("audio_"))
        cells = [
            f"{task['losses'][name]:.3f} ({100 * task['accuracies'][name]:.1f} %)"
            for name in layers
        ]
        rows.append([run.name, *cells])
    width = max(len(row) for row in rows)
    head = ["codes of", *(f"layer {n}: nats (accuracy)" for n in range(1, width))]
    lines = [head, ["---", *["---:"] * (width - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def main(given: Sequence[str] | None = None) -> None:
    """Write the table of the runs on the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE")
    o = parser.parse_args(given)
    write_text(o.out, table(o.runs))
    print(o.out.read_text())
