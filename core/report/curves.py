"""Training curves from the ``metrics.jsonl`` of a run."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass
class Curves:
    """All numbers that a run logged."""

    title: str
    series: dict[str, tuple[list[float], list[float]]] = field(default_factory=dict)
    """Name -> steps and values, both [n]; nested keys are joined with ", "."""


def read_metrics(path: str | Path) -> Iterator[dict[str, Any]]:
    """Yield the records of a ``metrics.jsonl`` that have a step; incomplete lines are skipped."""
    for line in Path(path).read_text(encoding="utf-8").split("\n"):
        try:
            record = json.loads(line)
        except (json.JSONDecodeError, RecursionError):
            continue
        if isinstance(record, dict) and isinstance(record.get("step"), int | float):
            yield record


def find_metrics(checkpoint: Path) -> list[Path]:
    """Logs of the run that wrote a checkpoint folder, or of the stages in the same folder."""
    if not checkpoint.is_dir():  # a preset or a hub id
        return []
    beside = checkpoint.parent / "metrics.jsonl"
    if beside.exists():
        return [beside]
    return sorted(checkpoint.parent.glob("*/metrics.jsonl"))


def read_curves(path: str | Path) -> Curves:
    """Read the curves of a log; of a step logged twice the last value counts."""
    path = Path(path)
    values: dict[str, dict[float, float]] = {}
    for record in read_metrics(path):
        for name, value in _numbers(record, ""):
            values.setdefault(name, {})[float(record["step"])] = value
    curves = Curves(path.parent.name)
    for name, by_step in values.items():
        if name != "step" and len(by_step) > 1:
            steps = sorted(by_step)
            curves.series[name] = (steps, [by_step[step] for step in steps])
    return curves


def _numbers(value: Any, name: str) -> list[tuple[str, float]]:
    """Every number in nested JSON, named by its path."""
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return []
    if isinstance(value, int | float):
        return [(name, float(value))]
    if isinstance(value, Mapping):
        items = [(str(key), item) for key, item in value.items()]
    else:
        items = [(f"layer {number + 1}", item) for number, item in enumerate(value)]
    numbers: list[tuple[str, float]] = []
    for key, item in items:
        numbers += _numbers(item, f"{name}, {key}" if name else key)
    return numbers
