"""Linear probes of several features on the same clips, and their table.

Letters: Q windows of a clip, P width of features.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from ...core.audio import AudioError, Waveform
from ...core.metrics.intervals import Interval, format_interval
from .linear_probe import Examples, ProbeScore, chance, probe
from .markdown import markdown_table
from .probe_features import Features, Frames
from .probe_tasks import PARTS, ProbeTask


@dataclass(frozen=True)
class ProbeRow:
    """Probes of one kind of features."""

    features: str
    rate: float  # of the features, per second, before pooling
    scores: dict[str, ProbeScore]  # by task


@dataclass(frozen=True)
class Probes:
    """Probes of all features."""

    rows: tuple[ProbeRow, ...]
    chance: dict[str, Interval]  # by task: always the most frequent class
    tasks: dict[str, dict[str, Any]]  # by task: classes, split_by, clips of each part
    window_rate: float  # windows of phones per second
    not_probed: dict[str, str]  # task -> reason

    def to_dict(self) -> dict[str, Any]:
        """Return all fields as JSON values."""
        return asdict(self)


class _Collector:
    """Examples of one task of one kind of features."""

    def __init__(self, task: ProbeTask, rate: float) -> None:
        self.task, self.rate = task, rate
        self.numbers = {clip: number for number, clip in enumerate(task.parts)}
        self.features: list[Tensor] = []
        self.labels: list[Tensor] = []
        self.clips: list[Tensor] = []

    def add(self, clip: str, frames: Frames) -> None:
        """Add a clip, if it is of the task."""
        if clip not in self.numbers:
            return
        if self.task.windows:
            wanted = torch.from_numpy(self.task.windows[clip])
            seconds = len(frames.values) / frames.rate
            wanted = wanted[: max(1, math.ceil(seconds * self.rate))]
            features = frames.pooled(len(wanted), self.rate)
            spoken = (wanted >= 0).nonzero()[:, 0]
            features, labels = features.index_select(0, spoken), wanted[spoken]
        else:
            features, labels = frames.mean(), torch.tensor([self.task.labels[clip]])
        self.features.append(features)
        self.labels.append(labels)
        self.clips.append(torch.full((len(labels),), self.numbers[clip]))

    def parts(self) -> list[Examples]:
        """Examples for training, validation and test."""
        everything = Examples(
            torch.cat(self.features), torch.cat(self.labels), torch.cat(self.clips)
        )
        parts = self.task.parts
        return [
            everything.of_clips(
                torch.tensor([n for clip, n in self.numbers.items() if parts[clip] == part])
            )
            for part in PARTS
        ]


def run_probes(
    clips: Mapping[str, Callable[[], Waveform]],
    features: Sequence[Features],
    tasks: Sequence[ProbeTask],
    *,
    rate: float,
    not_probed: Mapping[str, str] | None = None,
    seed: int = 0,
    progress: bool = True,
) -> Probes:
    """Compute all features of all clips of the tasks, and probe them.

    Args:
        clips: by id: reads samples [S] at 24 kHz.
        features: to compare.
        tasks: of `make_tasks`.
        rate: windows of phones per second, to which all features are pooled.
        not_probed: tasks without labels, with reasons.
        seed: of the bootstrap.
        progress: show progress bars.
    """
    used = [clip for clip in clips if any(clip in task.parts for task in tasks)]
    collectors: dict[str, dict[str, _Collector]] = {}
    rates: dict[str, float] = {}
    for clip in tqdm(used, desc="features", unit="clip", disable=not progress):
        try:
            wav = clips[clip]()
        except AudioError as error:
            tqdm.write(f"{clip} is left out: {error}")
            continue
        for compute in features:
            for name, frames in compute(wav).items():
                rates[name] = frames.rate
                of_tasks = collectors.setdefault(
                    name, {task.name: _Collector(task, rate) for task in tasks}
                )
                for collector in of_tasks.values():
                    collector.add(clip, frames)
    rows, guesses = [], {}
    for name, of_tasks in tqdm(collectors.items(), desc="probes", disable=not progress):
        scores = {}
        for task in tasks:
            train, valid, test = of_tasks[task.name].parts()
            scores[task.name] = probe(train, valid, test, len(task.classes), seed=seed)
            guesses[task.name] = chance(train, test, seed=seed)
        rows.append(ProbeRow(name, rates[name], scores))
    about = {task.name: _about(task) for task in tasks}
    return Probes(tuple(rows), guesses, about, rate, dict(not_probed or {}))


def _about(task: ProbeTask) -> dict[str, Any]:
    counts = {part: list(task.parts.values()).count(part) for part in PARTS}
    return {"classes": len(task.classes), "split_by": task.split_by, "clips": counts}


def to_markdown(probes: Probes) -> str:
    """The table with intervals, in Markdown."""
    names = list(probes.tasks)
    rows = [
        [row.features, f"{row.rate:.4g}"]
        + [format_interval(row.scores[name].accuracy) for name in names]
        for row in probes.rows
    ]
    rows.append(["most frequent class", "", *(format_interval(probes.chance[n]) for n in names)])
    heads = [
        f"{name} ({probes.tasks[name]['classes']}, by {probes.tasks[name]['split_by']})"
        for name in names
    ]
    counts = "; ".join(
        f"{name}: {' / '.join(str(about['clips'][part]) for part in PARTS)} clips of"
        " training / validation / test"
        for name, about in probes.tasks.items()
    )
    lines = [
        "Accuracy of linear probes on held-out clips, %, with 95 % bootstrap intervals over clips."
        f" Phones: {probes.window_rate:g} windows per second, without silence; speaker and class:"
        f" mean over the clip. In brackets: number of classes, and whether clips are split by"
        f" speaker or by clip. {counts}.",
        markdown_table(["features", "per second", *heads], rows),
    ]
    if probes.not_probed:
        lines.append("\n".join(f"- {name}: {why}" for name, why in probes.not_probed.items()))
    return "\n\n".join(lines) + "\n"
