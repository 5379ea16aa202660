"""Loss curves of a run beside those of a reference run, for ``almtok compare``.

A curve has 20 points along the run, each the mean and the standard deviation of the losses around
it; it is small enough to be stored with a recipe. Runs of different length are compared at the same
fraction of their steps, because their learning rate schedules agree there.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from almtok.core.reading import read_json_object, reading
from almtok.core.report.curves import read_metrics

RECIPES = Path(__file__).parent
POINTS = 20
# Half the width of a band: standard deviations, and at least this fraction of the mean.
_SPREADS, _LEAST = 3.0, 0.08


def references() -> list[str]:
    """References of the recipes, as RECIPE/STAGE."""
    return [f"{path.parts[-3]}/{path.stem}" for path in sorted(RECIPES.glob("*/reference/*.json"))]


@dataclass(frozen=True)
class Point:
    """A point of a curve."""

    share: float  # fraction of the steps, 0 to 1
    mean: float
    spread: float  # standard deviation

    @property
    def band(self) -> tuple[float, float]:
        """Lowest and highest loss that counts as normal."""
        half = max(_SPREADS * self.spread, _LEAST * abs(self.mean))
        return self.mean - half, self.mean + half


@dataclass(frozen=True)
class LossCurves:
    """Curves of all losses of a run, by name."""

    what: str  # run folder or recipe
    steps: int  # planned steps
    done: float  # fraction of them that is done
    losses: dict[str, list[Point]]

    def to_dict(self) -> dict[str, Any]:
        """Return the curves for JSON, rounded to four digits."""
        points = {
            name: [[round(value, 4) for value in (p.share, p.mean, p.spread)] for p in found]
            for name, found in self.losses.items()
        }
        return {"what": self.what, "steps": self.steps, "done": self.done, "losses": points}


@dataclass(frozen=True)
class Verdict:
    """One loss and the band of its reference, at the last point that both have."""

    name: str
    share: float
    value: float
    low: float
    high: float
    cause: str  # the most likely one, if the loss lies outside the band

    @property
    def inside(self) -> bool:
        """Whether the loss lies in the band."""
        return self.low <= self.value <= self.high


def read_reference(name: str) -> LossCurves:
    """Read the curves of a recipe, named RECIPE/STAGE, or those at a path (:func:`read_curves`)."""
    if name in references():
        recipe, stage = name.split("/")
        return read_curves(RECIPES / recipe / "reference" / f"{stage}.json")
    return read_curves(Path(name))


def read_curves(path: Path) -> LossCurves:
    """Read the curves of a run folder, or of a JSON file with :meth:`LossCurves.to_dict`.

    Raises:
        ValueError: `path` is neither, or the run has no losses yet.
    """
    if path.suffix == ".json" and path.is_file():
        with reading(path):
            values = read_json_object(path)
            series = values["losses"].items()
            losses = {name: [Point(*point) for point in found] for name, found in series}
            return LossCurves(values["what"], values["steps"], values["done"], losses)
    if not (path / "metrics.jsonl").is_file():
        raise ValueError(f"{path} is no run folder: it has no metrics.jsonl")
    lines = [line for line in read_metrics(path / "metrics.jsonl") if "losses" in line]
    if not lines:
        raise ValueError(f"{path} has no losses yet: train for a few steps first")
    with reading(path / "config.json"):
        steps = int(read_json_object(path / "config.json")["steps"])
    names = dict.fromkeys(name for line in lines for name in line["losses"])
    losses = {name: _points(lines, name, steps) for name in names}
    return LossCurves(str(path), steps, min(1.0, lines[-1]["step"] / steps), losses)


def _points(lines: Sequence[dict[str, Any]], name: str, steps: int) -> list[Point]:
    found: dict[int, list[float]] = {}
    for line in lines:
        if name in line["losses"]:
            place = min(POINTS - 1, int(POINTS * line["step"] / steps))
            value = line["losses"][name]
            found.setdefault(place, []).append(math.inf if value is None else float(value))
    return [
        Point((place + 0.5) / POINTS, statistics.fmean(values), _deviation(values))
        for place, values in sorted(found.items())
    ]


def _deviation(values: Sequence[float]) -> float:
    return statistics.pstdev(values) if all(map(math.isfinite, values)) else math.nan


def compare(run: LossCurves, reference: LossCurves) -> list[Verdict]:
    """Compare every loss that both have, at the last point that both have.

    Raises:
        ValueError: the runs have no loss in common.
    """
    verdicts = []
    for name, points in reference.losses.items():
        bands = {point.share: point.band for point in points}
        common = [point for point in run.losses.get(name, []) if point.share in bands]
        if not common:
            continue
        # The last point of an unfinished run covers few steps and would be too high.
        last = common[-2] if run.done < 1 and len(common) > 1 else common[-1]
        low, high = bands[last.share]
        cause = "" if low <= last.mean <= high else _cause(name, last.mean > high)
        verdicts.append(Verdict(name, last.share, last.mean, low, high, cause))
    if not verdicts:
        raise ValueError(
            f"{run.what} and {reference.what} have no loss in common: {', '.join(run.losses)} and"
            f" {', '.join(reference.losses)}"
        )
    return verdicts


def _cause(name: str, above: bool) -> str:
    """Return the most frequent cause."""
    if not above:
        return _BELOW
    for prefix, cause in _ABOVE.items():
        if name.startswith(prefix):
            return cause
    return "another learning rate, batch or corpus than the reference's"


_BELOW = (
    "lower than the reference: an easier or smaller corpus, or one that is learned by heart"
    " (check the validation losses)"
)
# By prefix of the name of the loss.
_ABOVE = {
    "mel": "the output is not near yet: too high a learning rate, clips of silence, or codebooks"
    " that collapsed (perplexity in metrics.jsonl)",
    "time": "phases are not learned: the run is younger than it looks, or weight_time is too low",
    "commitment": "queries run away from their codes: a learning rate that is too high",
    "masked": "the masked frames are not learned: weight_masked is too low for this corpus",
    "adversarial": "discriminators win: later adversarial_start or a lower discriminator_lr",
    "text": "texts are not learned: transcripts that do not fit their audio (almtok lm tokenize"
    " --report lists them), or codes that lost the words",
    "ctc": "sound and letters are not aligned: begin with short pieces (recipes/multitask)",
    "audio": "codes are harder than the reference's: noisy recordings, mixed levels (--loudness),"
    " or another codec",
    "phones": "the codes lose phones: a phoneme classifier of another language,"
    " or too low a weight_phones",
}


def verdict_table(verdicts: Sequence[Verdict]) -> str:
    """Return a Markdown table."""
    lines = ["| loss | at | here | reference | |", "| --- | ---: | ---: | --- | --- |"]
    for row in verdicts:
        result = "as expected" if row.inside else f"**{row.cause}**"
        lines.append(
            f"| {row.name} | {100 * row.share:.0f} % | {row.value:.3f} | {row.low:.3f} to"
            f" {row.high:.3f} | {result} |"
        )
    return "\n".join(lines) + "\n"
