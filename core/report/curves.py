"""Training curves from the ``metrics.jsonl`` of a run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass
class Curves:
    """Everything that a run logged: name -> steps and values."""

    title: str
    series: dict[str, tuple[list[float], list[float]]] = field(default_factory=dict)


def find_metrics(checkpoint: Path) -> list[Path]:
    """Logs that belong to a checkpoint folder: of its run, or of the stages beside it."""
    if not checkpoint.is_dir():  # a preset or a hub id
        return []
    beside = checkpoint.parent / "metrics.jsonl"
    if beside.exists():
        return [beside]
    return sorted(checkpoint.parent.glob("*/metrics.jsonl"))


def read_curves(path: str | Path) -> Curves:
    """Read a log; a line that a kill cut short is left out, a step logged twice counts once."""
    path = Path(path)
    curves = Curves(path.parent.name)
    found: dict[str, dict[float, float]] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            record = json.loads(line)
        except json.JSONDecodeError:
            continue
        if isinstance(record, dict) and isinstance(record.get("step"), int | float):
            for name, value in _numbers(record, ""):
                found.setdefault(name, {})[float(record["step"])] = value
    for name, by_step in found.items():
        if name != "step" and len(by_step) > 1:
            steps = sorted(by_step)
            curves.series[name] = (steps, [by_step[step] for step in steps])
    return curves


def _numbers(value: Any, name: str) -> list[tuple[str, float]]:
    """Every number in nested JSON with the path to it as its name."""
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return []
    if isinstance(value, int | float):
        return [(name, float(value))]
    if isinstance(value, Mapping):
        items = [(str(key), item) for key, item in value.items()]
    else:
        items = [(f"layer {number + 1}", item) for number, item in enumerate(value)]
    out: list[tuple[str, float]] = []
    for key, item in items:
        out += _numbers(item, f"{name}, {key}" if name else key)
    return out
