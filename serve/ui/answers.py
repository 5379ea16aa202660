"""Answers of listening tests: a JSON Lines file, and its results."""

from __future__ import annotations

import datetime
import json
import math
import threading
from collections import defaultdict
from pathlib import Path
from typing import Any

from ...core.files import append_json_line, complete_lines
from ...core.metrics.intervals import Interval, bootstrap_interval
from .trials import AbxSession, AbxTrial, MushraPage, MushraSession


class AnswerFile:
    """The answers of all listeners; every one is on disk before the next trial is shown."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()

    def add_abx(self, session: AbxSession, trial: AbxTrial, answer: str) -> None:
        """Append the answer "A" or "B" of a trial."""
        self._add(session, {
            "test": "abx", "item": trial.item, "a": trial.a, "b": trial.b, "x": trial.x,
            "answer": answer, "correct": trial.correct(answer),
        })  # fmt: skip

    def add_mushra(self, session: MushraSession, page: MushraPage, scores: list[float]) -> None:
        """Append the scores of a page, 0 to 100, in the order of its stimuli."""
        self._add(session, {
            "test": "mushra", "item": page.item, "order": list(page.stimuli),
            "scores": dict(zip(page.stimuli, scores, strict=True)),
        })  # fmt: skip

    def _add(self, session: AbxSession | MushraSession, answer: dict[str, Any]) -> None:
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        who = {"time": now, "session": session.id, "listener": session.listener}
        with self._lock:
            if self.path.exists():
                complete_lines(self.path)  # cuts off what a killed process left
            self.path.parent.mkdir(parents=True, exist_ok=True)
            append_json_line(self.path, {**who, **answer})

    def read(self) -> list[dict[str, Any]]:
        """All answers.

        Raises:
            ValueError: a line is not an answer.
        """
        with self._lock:
            found = complete_lines(self.path, repair=False) if self.path.exists() else []
        answers = []
        for number, line in enumerate(found, start=1):
            try:
                answer = json.loads(line)
                answer["session"], answer["test"]
            except (ValueError, KeyError, TypeError):
                raise ValueError(f"{self.path.name}, line {number} is not an answer") from None
            answers.append(answer)
        return answers


def binomial_p(right: int, count: int) -> float:
    """Probability of at least so many right answers of `count` by guessing.

    Example:
        >>> round(binomial_p(9, 10), 4)
        0.0107
    """
    return sum(math.comb(count, k) for k in range(right, count + 1)) / 2**count


def abx_results(answers: list[dict[str, Any]]) -> dict[tuple[str, str], tuple[int, int]]:
    """Right answers and trials of each pair of systems, over all listeners."""
    pairs: dict[tuple[str, str], tuple[int, int]] = {}
    for answer in answers:
        if answer["test"] == "abx":
            first, second = sorted((answer["a"], answer["b"]))
            right, count = pairs.get((first, second), (0, 0))
            pairs[first, second] = right + bool(answer["correct"]), count + 1
    return pairs


def mushra_results(answers: list[dict[str, Any]]) -> dict[str, Interval]:
    """Mean score of each system with its 95 % interval, over all pages of all listeners."""
    scores: dict[str, list[float]] = defaultdict(list)
    for answer in answers:
        if answer["test"] == "mushra":
            for system, score in answer["scores"].items():
                scores[system].append(score)
    means = {system: bootstrap_interval(values) for system, values in scores.items()}
    return dict(sorted(means.items(), key=lambda pair: -pair[1].mean))
