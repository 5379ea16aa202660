"""Panels over a common time axis: pictures with ticks whose text keeps its size on every screen.

The macro ``panel`` of ``panels.html`` draws them. Letters: S samples, H, W pixels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

_COLUMNS = 700  # of an envelope: about the pixels of a wide screen
_MOST_TICKS = 6  # of the time axis, for phones
_KILOHERTZ = (0, 500, 1000, 2000, 4000, 8000)


@dataclass(frozen=True)
class Mark:
    """A labelled place of an axis."""

    place: float  # per cent from the left or from the top
    text: str
    edge: str = ""  # "first" or "last": the text stays inside of the axis


@dataclass(frozen=True)
class Box:
    """A text with its place on the time axis."""

    place: float  # per cent from the left
    width: float  # per cent
    text: str


@dataclass(frozen=True)
class Panel:
    """One picture over time.

    Attributes:
        title: heading.
        note: what is shown, in a sentence.
        alt: the same for those who do not see it, with the main figures.
        height: pixels.
        image: data URL, or "" for a drawing.
        outline: points of a polygon in a box of 1000 x 100, or "".
        across: marks of the time axis.
        down: marks of the vertical axis.
        pixelated: the image has sharp cells.
        boxes: texts, instead of a picture.
    """

    title: str
    note: str
    alt: str
    height: int
    across: Sequence[Mark]
    down: Sequence[Mark]
    image: str = ""
    outline: str = ""
    pixelated: bool = False
    boxes: Sequence[Box] = ()


def time_marks(start: float, seconds: float) -> list[Mark]:
    """Marks at round times in seconds of an excerpt."""
    step = 10.0 ** math.floor(math.log10(seconds / _MOST_TICKS))
    step = next(
        step * factor for factor in (1, 2, 5, 10) if seconds / (step * factor) <= _MOST_TICKS
    )
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    marks = []
    for number in range(
        math.ceil(start / step - 1e-9), math.floor((start + seconds) / step + 1e-9) + 1
    ):
        place = 100 * (number * step - start) / seconds
        edge = "first" if place < 3 else "last" if place > 94 else ""
        marks.append(Mark(place, f"{number * step:.{digits}f} s", edge))
    return marks


def mel_marks(sample_rate: int) -> list[Mark]:
    """Marks of frequencies on the mel axis of :func:`.figures.spectrogram_url`."""

    def mel(hertz: float) -> float:
        return math.log10(1.0 + hertz / 700.0)

    marks = []
    for hertz in _KILOHERTZ:
        if hertz <= sample_rate / 2:
            text = f"{hertz / 1000:g} kHz" if hertz >= 1000 else f"{hertz} Hz"
            edge = "last" if hertz == 0 else ""
            marks.append(Mark(100 * (1 - mel(hertz) / mel(sample_rate / 2)), text, edge))
    return marks


def row_marks(names: Sequence[str]) -> list[Mark]:
    """Marks in the middle of rows of equal height."""
    return [Mark(100 * (row + 0.5) / len(names), name) for row, name in enumerate(names)]


def level_marks(peak: float) -> list[Mark]:
    """Marks of the amplitude axis of :func:`outline`."""
    return [Mark(0, f"{peak:.2g}", "first"), Mark(50, "0"), Mark(100, f"−{peak:.2g}", "last")]


def outline(wav: npt.ArrayLike, peak: float) -> str:
    """Envelope of samples [S] as points of a polygon in a box of 1000 x 100; -peak is at 100."""
    samples = np.asarray(wav, dtype=np.float64)
    groups = np.array_split(samples, min(_COLUMNS, samples.size))
    x = (np.arange(len(groups)) + 0.5) * 1000 / len(groups)
    upper, lower = (
        50 - 50 * np.array([edge(group) for group in groups]) / peak for edge in (np.max, np.min)
    )
    lower = np.maximum(lower, upper + 0.4)  # silence is a thin line
    points = [*zip(x, upper, strict=True), *zip(x[::-1], lower[::-1], strict=True)]
    return " ".join(f"{a:.1f},{b:.1f}" for a, b in points)
