"""The page of ``almtok compare --report``: curves of a run beside the bands of a reference."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from almtok.core.report import curves as logged
from almtok.core.report.bands import BandChart, BandPoint, band_chart
from almtok.core.report.figures import curve_chart
from almtok.core.report.render import render

from .curves import LossCurves, Verdict


@dataclass(frozen=True)
class Judged:
    """A loss in a sentence."""

    inside: bool  # at the last point
    sentence: str


def page(
    run: LossCurves, reference: LossCurves | None, verdicts: Sequence[Verdict], folder: Path
) -> str:
    """Return the HTML of a run.

    Args:
        run: curves of the run.
        reference: those beside it, or None.
        verdicts: of the losses that both have.
        folder: run folder, for all its curves; saved curves have only those of losses.
    """
    charts = []
    if reference is not None:
        charts = [_chart(run, reference, verdict) for verdict in verdicts]
    log = folder / "metrics.jsonl"
    series = logged.read_curves(log).series if log.is_file() else {}
    drawn = {f"losses, {verdict.name}" for verdict in verdicts}
    more = [curve_chart(name, *values) for name, values in series.items() if name not in drawn]
    return render(
        "training.html",
        title=f"Training {run.what}",
        progress=f"{100 * run.done:.0f} % of {run.steps} steps are done.",
        summary=summary(reference, verdicts),
        outside=any(not verdict.inside for verdict in verdicts),
        charts=charts,
        more=[chart for chart in more if chart is not None],
    )


def summary(reference: LossCurves | None, verdicts: Sequence[Verdict]) -> str:
    """Return how many losses lie in the band of the reference, in a sentence."""
    if reference is None:
        return "No reference was given, so there are no bands."
    outside = [verdict for verdict in verdicts if not verdict.inside]
    count = f"{len(verdicts) - len(outside)} of {len(verdicts)} losses lie inside the bands of"
    text = f"{count} {reference.what} at the last point that both have"
    names = [f"{v.name} ({v.value:.3f}, not {v.low:.3f} to {v.high:.3f})" for v in outside]
    return f"{text}; outside: {', '.join(names)}." if outside else f"{text}."


def _chart(run: LossCurves, reference: LossCurves, verdict: Verdict) -> tuple[BandChart, Judged]:
    bands = {point.share: point.band for point in reference.losses[verdict.name]}
    values = {point.share: point.mean for point in run.losses[verdict.name]}
    points = [
        BandPoint(share, values.get(share), *bands.get(share, (None, None)))
        for share in sorted(bands.keys() | values.keys())
    ]
    sentence = _sentence(verdict, points)
    return band_chart(verdict.name, points, sentence), Judged(verdict.inside, sentence)


def _sentence(verdict: Verdict, points: Sequence[BandPoint]) -> str:
    """The last point, and how many points before it lie outside."""
    value = f"{verdict.value:.3f}" if math.isfinite(verdict.value) else "not a number"
    place = "inside" if verdict.inside else "outside"
    text = (
        f"{verdict.name} is {value} at {100 * verdict.share:.0f} % of the steps, {place} the band"
        f" {verdict.low:.3f} to {verdict.high:.3f}"
    )
    compared = [p for p in points if p.value is not None and p.low is not None]
    compared = [p for p in compared if p.share < verdict.share]
    strayed = [p for p in compared if p.outside]
    if strayed:
        text += f"; before, {len(strayed)} of {len(compared)} points lie outside"
    return f"{text}. Likely: {verdict.cause}." if verdict.cause else f"{text}."
