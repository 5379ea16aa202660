"""Figures of the reports: audio, spectrograms and code maps as data URLs, charts as geometry.

The templates draw the charts as SVG (macros ``interval_chart`` and ``curve_chart``).
Letters: S samples, K codebooks, Q positions.
"""

from __future__ import annotations

import base64
import io
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..audio import write_audio
from ..metrics.spectral import magnitude_blocks, mel_filters

_FFT, _HOP, _BANDS = 1024, 240, 96
_RANGE_DB = 70.0
_MAX_POINTS = 400  # of a curve: more than the pixel columns of a phone


def _data_url(media_type: str, data: bytes) -> str:
    return f"data:{media_type};base64,{base64.b64encode(data).decode()}"


def flac_url(wav: npt.ArrayLike, sample_rate: int) -> str:
    """Data URL of samples [S] as 16-bit FLAC: lossless, half the size of WAV."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clip.flac"
        write_audio(path, np.asarray(wav, dtype=np.float32), sample_rate)
        return _data_url("audio/flac", path.read_bytes())


def png_url(image: npt.NDArray[np.float64], colours: str) -> str:
    """Data URL of a PNG of values 0..1 [height, width] in a colour map of matplotlib."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import colormaps
    from PIL import Image

    table = (colormaps[colours](np.linspace(0.0, 1.0, 256))[:, :3] * 255).astype(np.uint8)
    indices = (np.clip(image, 0.0, 1.0) * 255).astype(np.uint8)
    picture = Image.fromarray(indices)
    picture.putpalette(table.tobytes())
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG", optimize=True)
    return _data_url("image/png", buffer.getvalue())


def _mel_power(wav: npt.ArrayLike, sample_rate: int) -> npt.NDArray[np.float64]:
    """Power [frames, bands] relative to a full-scale sine."""
    filters = mel_filters(sample_rate, _FFT, _BANDS)
    magnitudes = np.concatenate(list(magnitude_blocks(wav, _FFT, _HOP)))
    return (magnitudes / (_FFT / 4)) ** 2 @ filters


def mel_level(wav: npt.ArrayLike, sample_rate: int) -> npt.NDArray[np.float64]:
    """Level [frames, bands] of mel bands in dB relative to a full-scale sine, at least -120."""
    return 10.0 * np.log10(np.maximum(_mel_power(wav, sample_rate), 1e-12))


def spectrogram_url(wav: npt.ArrayLike, sample_rate: int, *, loudest: float | None = None) -> str:
    """Mel spectrogram of samples [S] as a PNG data URL, 0 Hz at the bottom, range 70 dB.

    Args:
        wav: samples [S].
        sample_rate: in Hz.
        loudest: level in dB drawn brightest, by default the loudest of the clip. Pass that of the
            original (`loudest_band`) for a reconstruction, to make wrong levels visible.
    """
    level = mel_level(wav, sample_rate)
    top = level.max() if loudest is None else loudest
    return png_url(((level - top) / _RANGE_DB + 1.0).T[::-1], "magma")


def loudest_band(wav: npt.ArrayLike, sample_rate: int) -> float:
    """Level in dB of the loudest mel band of samples [S]."""
    return float(mel_level(wav, sample_rate).max())


def scatter_codes(codes: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Values 0..1 of codes, to colour them: neighbouring entries of a codebook are unrelated."""
    golden_ratio = 0.6180339887498949  # its multiples spread evenly
    return np.asarray(codes * golden_ratio % 1.0, dtype=np.float64)


def code_map_url(codes: npt.NDArray[np.int64]) -> str:
    """Codes [K, Q] as a PNG data URL: a coloured cell per code, one row per layer."""
    cells = scatter_codes(codes).repeat(8, axis=0).repeat(4, axis=1)
    cells[::8] = 0.0
    return png_url(cells, "turbo")


@dataclass(frozen=True)
class Bar:
    """A mean with its interval."""

    name: str
    mean: float
    low: float
    high: float
    ours: bool  # drawn in the accent colour


@dataclass(frozen=True)
class ChartRow:
    """A `Bar` with its position in the chart; lengths in SVG units."""

    name: str
    value: str  # the mean as text
    mean: float
    low: float
    high: float
    y: float
    ours: bool
    best: bool


@dataclass(frozen=True)
class Tick:
    """A labelled grid line."""

    x: float
    text: str


@dataclass(frozen=True)
class IntervalChart:
    """Means with their intervals on a common axis, one row each."""

    rows: tuple[ChartRow, ...]
    ticks: tuple[Tick, ...]
    height: int
    width: int
    left: int  # start of the axis


def interval_chart(bars: Sequence[Bar], *, digits: int, higher_is_better: bool) -> IntervalChart:
    """Lay out means with their intervals; the best mean is drawn bold."""
    low, high = min(bar.low for bar in bars), max(bar.high for bar in bars)
    margin = 0.06 * ((high - low) or max(abs(high), 1.0) * 0.1)
    low, high = low - margin, high + margin
    row_height, left, right, width = 26, 132, 62, 420

    def x(value: float) -> float:
        return left + (value - low) / (high - low) * (width - left - right)

    best = max(bars, key=lambda bar: bar.mean if higher_is_better else -bar.mean)
    rows = tuple(
        ChartRow(
            name=bar.name,
            value=f"{bar.mean:.{digits}f}",
            mean=x(bar.mean),
            low=x(bar.low),
            high=x(bar.high),
            y=row_height * (number + 0.5) + 2,
            ours=bar.ours,
            best=bar is best,
        )
        for number, bar in enumerate(bars)
    )
    marks = (float(mark) for mark in np.linspace(low + margin, high - margin, 3))
    ticks = tuple(Tick(x(mark), f"{mark:.{digits}f}") for mark in marks)
    return IntervalChart(rows, ticks, row_height * len(bars) + 22, width, left)


@dataclass(frozen=True)
class CurveChart:
    """One quantity over training steps; lengths in SVG units."""

    name: str
    points: tuple[tuple[float, float], ...]
    logarithmic: bool
    highest: str
    lowest: str
    first_step: float
    last_step: float
    width: int
    height: int
    left: int  # margins around the axes
    top: int
    bottom: int


def tick_text(value: float) -> str:
    """A number of an axis in three digits, at most eight characters."""
    if value and not 1e-3 <= abs(value) < 1e6:
        digits, _, exponent = f"{value:.1e}".partition("e")
        return f"{digits}e{int(exponent)}"
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"


def curve_chart(name: str, steps: Sequence[float], values: Sequence[float]) -> CurveChart | None:
    """Lay out a curve, on a logarithmic axis if the values span more than a factor of 20.

    Args:
        name: heading.
        steps: positions [n], ascending.
        values: [n]; values that are not finite are skipped.

    Returns:
        The chart, or None when no value is finite.
    """
    y, x = np.asarray(values, dtype=np.float64), np.asarray(steps, dtype=np.float64)
    finite = np.isfinite(y)
    x, y = x[finite], y[finite]
    if y.size == 0:
        return None
    logarithmic = bool(y.min() > 0 and y.max() / y.min() > 20)
    shown = np.log10(y) if logarithmic else y
    if x.size > _MAX_POINTS:
        groups = np.array_split(np.arange(x.size), _MAX_POINTS)
        x, shown = (np.array([a[g].mean() for g in groups]) for a in (x, shown))
    low, high = float(shown.min()), float(shown.max())
    first, last = float(x[0]), float(x[-1]) if x[-1] > x[0] else float(x[0]) + 1.0
    width, height, left, top, bottom = 420, 170, 52, 24, 22
    across = left + (x - first) / (last - first) * (width - left - 8)
    down = top + (high - shown) / ((high - low) or 1.0) * (height - top - bottom)
    highest, lowest = (tick_text(10.0**value if logarithmic else value) for value in (high, low))
    return CurveChart(
        name=name,
        points=tuple(zip(across.tolist(), down.tolist(), strict=True)),
        logarithmic=logarithmic,
        highest=highest,
        lowest=lowest,
        first_step=first,
        last_step=last,
        width=width,
        height=height,
        left=left,
        top=top,
        bottom=bottom,
    )
