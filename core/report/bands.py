"""Charts of a curve beside the band of a reference; the macro ``band_chart`` draws them as SVG."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from .figures import tick_text

_WIDTH, _HEIGHT, _LEFT, _TOP, _BOTTOM, _RIGHT = 420, 190, 52, 24, 22, 12
_LOGARITHMIC = 20.0  # ratio of the values from which the axis is logarithmic


@dataclass(frozen=True)
class BandPoint:
    """A point of a curve and, if the reference has one there, its band."""

    share: float  # of the steps, 0 to 1
    value: float | None
    low: float | None = None
    high: float | None = None

    @property
    def outside(self) -> bool:
        """Whether the value is not in the band, or is no number."""
        if self.value is None or self.low is None or self.high is None:
            return False
        return not self.low <= self.value <= self.high


@dataclass(frozen=True)
class BandChart:
    """A curve and a band; lengths in SVG units."""

    name: str
    alt: str
    logarithmic: bool
    curve: tuple[tuple[float, float], ...]
    outside: tuple[tuple[float, float], ...]  # points of the curve outside the band
    band: tuple[tuple[float, float], ...]  # polygon
    ticks: tuple[tuple[float, str], ...]  # of the vertical axis
    across: tuple[tuple[float, str, str], ...]  # place, text and anchor of the horizontal axis
    width: int = _WIDTH
    height: int = _HEIGHT
    left: int = _LEFT
    right: int = _WIDTH - _RIGHT
    top: int = _TOP
    bottom: int = _HEIGHT - _BOTTOM


def band_chart(name: str, points: Sequence[BandPoint], alt: str) -> BandChart:
    """Lay out a curve and its band, on a logarithmic axis if the values span a factor of 20.

    Values that are not finite are left out.
    """
    bands = [(p.share, p.low, p.high) for p in points if p.low is not None and p.high is not None]
    curve = [p for p in points if p.value is not None and math.isfinite(p.value)]
    drawn = [float(p.value) for p in curve if p.value is not None]
    # In the range of the values: a band may reach below zero.
    means = [(low + high) / 2 for _, low, high in bands]
    logarithmic = min(drawn + means) > 0 and max(drawn + means) > _LOGARITHMIC * min(drawn + means)
    floor = min(drawn + means) / 2 if logarithmic else -math.inf
    bands = [(share, max(low, floor), high) for share, low, high in bands]
    values = [*drawn, *(low for _, low, _ in bands), *(high for _, _, high in bands)]
    low, high = _scaled(min(values), logarithmic), _scaled(max(values), logarithmic)
    high = high if high > low else low + 1.0

    def x(share: float) -> float:
        return _LEFT + share * (_WIDTH - _LEFT - _RIGHT)

    def y(value: float) -> float:
        place = (high - _scaled(value, logarithmic)) / (high - low)
        return _TOP + place * (_HEIGHT - _TOP - _BOTTOM)

    marks = (low, (low + high) / 2, high)
    texts = [10.0**mark if logarithmic else mark for mark in marks]
    upper = [(x(share), y(top)) for share, _, top in bands]
    lower = [(x(share), y(bottom)) for share, bottom, _ in reversed(bands)]
    return BandChart(
        name=name,
        alt=alt,
        logarithmic=logarithmic,
        curve=tuple((x(p.share), y(float(p.value or 0.0))) for p in curve),
        outside=tuple((x(p.share), y(float(p.value or 0.0))) for p in curve if p.outside),
        band=(*upper, *lower),
        ticks=tuple((y(value), tick_text(value)) for value in texts),
        across=(
            (x(0), "0 %", "start"),
            (x(0.5), "50 %", "middle"),
            (x(1), "100 % of steps", "end"),
        ),
    )


def _scaled(value: float, logarithmic: bool) -> float:
    return math.log10(value) if logarithmic else value
