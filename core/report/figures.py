"""Pictures for the report: spectrograms and code maps as PNG, charts as SVG that follow the page.

SVG is written by hand: it takes its colours from the page (light or dark) and stays sharp.
"""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
import numpy.typing as npt

from ..metrics.spectral import magnitude_blocks, mel_filters

_FFT, _HOP, _BANDS = 1024, 240, 96
_RANGE_DB = 70.0


def _png(image: npt.NDArray[np.float64], colours: str) -> str:
    """A PNG data address of values 0..1 [height, width]."""
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
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def spectrogram_png(wav: npt.ArrayLike, sample_rate: int, *, loudest: float | None = None) -> str:
    """Mel spectrogram of a clip [S] as a data address: low tones at the bottom, 70 dB of range.

    Args:
        wav: samples.
        sample_rate: of them.
        loudest: amplitude drawn brightest; by default the clip's own. Give the original's to the
            reconstruction, so that a wrong level can be seen.
    """
    filters = mel_filters(sample_rate, _FFT, _BANDS)
    magnitudes = np.concatenate(list(magnitude_blocks(wav, _FFT, _HOP)))
    level = 10.0 * np.log10(np.maximum((magnitudes / (_FFT / 4)) ** 2 @ filters, 1e-12))
    top = level.max() if loudest is None else loudest
    return _png(((level - top) / _RANGE_DB + 1.0).T[::-1], "magma")


def loudest_band(wav: npt.ArrayLike, sample_rate: int) -> float:
    """Level in dB of a clip's loudest mel band: the common scale for its spectrograms."""
    filters = mel_filters(sample_rate, _FFT, _BANDS)
    power = max(float(((m / (_FFT / 4)) ** 2 @ filters).max()) for m in
                magnitude_blocks(wav, _FFT, _HOP))  # fmt: skip
    return 10.0 * math.log10(max(power, 1e-12))


def code_map_png(codes: npt.NDArray[np.int64]) -> str:
    """Codes [K, Q] as coloured cells, one row per layer; equal codes have equal colours."""
    # Neighbouring entries of a codebook have nothing in common: spread them over the colours.
    scattered = (codes * 0.6180339887498949) % 1.0
    cells = np.kron(scattered, np.ones((8, 4)))
    cells[::8] = 0.0
    return _png(cells, "turbo")


@dataclass(frozen=True)
class Bar:
    """One row of an interval chart."""

    name: str
    mean: float
    low: float
    high: float
    ours: bool


def interval_chart(bars: Sequence[Bar], *, digits: int, higher_is_better: bool) -> str:
    """Means with their intervals as an SVG, one row per coder, all on one axis."""
    low, high = min(bar.low for bar in bars), max(bar.high for bar in bars)
    span = (high - low) or max(abs(high), 1.0) * 0.1
    low, high = low - 0.06 * span, high + 0.06 * span
    row, left, right, width = 26, 132, 62, 420
    height = row * len(bars) + 22

    def x(value: float) -> float:
        return left + (value - low) / (high - low) * (width - left - right)

    parts = [f'<svg class="chart" viewBox="0 0 {width} {height}" role="img">']
    for tick in np.linspace(low + 0.06 * span, high - 0.06 * span, 3):
        at = x(float(tick))
        parts.append(
            f'<line class="grid" x1="{at:.1f}" y1="2" x2="{at:.1f}" y2="{height - 18}"/>'
            f'<text class="tick" x="{at:.1f}" y="{height - 4}" text-anchor="middle">'
            f"{tick:.{digits}f}</text>"
        )
    best = max(bars, key=lambda bar: bar.mean if higher_is_better else -bar.mean)
    for number, bar in enumerate(bars):
        y = row * number + row / 2 + 2
        kind = "ours" if bar.ours else "peer"
        weight = ' font-weight="700"' if bar is best else ""
        parts.append(
            f'<text class="name {kind}" x="{left - 8}" y="{y + 4:.1f}" text-anchor="end"'
            f"{weight}>{escape(bar.name if len(bar.name) < 21 else bar.name[:19] + '…')}</text>"
            f'<line class="{kind}" x1="{x(bar.low):.1f}" x2="{x(bar.high):.1f}" y1="{y:.1f}"'
            f' y2="{y:.1f}"/><circle class="{kind}" cx="{x(bar.mean):.1f}" cy="{y:.1f}" r="4.5"/>'
            f'<text class="value" x="{width - 4}" y="{y + 4:.1f}" text-anchor="end"{weight}>'
            f"{bar.mean:.{digits}f}</text>"
        )
    return "".join(parts) + "</svg>"


def curve_chart(name: str, steps: Sequence[float], values: Sequence[float]) -> str:
    """One quantity over training steps as an SVG; logarithmic when it falls by more than 20."""
    y = np.asarray(values, dtype=np.float64)
    x = np.asarray(steps, dtype=np.float64)
    keep = np.isfinite(y)
    x, y = x[keep], y[keep]
    if y.size == 0:
        return ""
    logarithmic = bool(y.min() > 0 and y.max() / y.min() > 20)
    shown = np.log10(y) if logarithmic else y
    if x.size > 400:  # a phone cannot show more
        groups = np.array_split(np.arange(x.size), 400)
        x, shown = (np.array([a[g].mean() for g in groups]) for a in (x, shown))
    low, high = float(shown.min()), float(shown.max())
    span = (high - low) or 1.0
    first, last = float(x[0]), float(x[-1]) if x[-1] > x[0] else float(x[0]) + 1.0
    width, height, left, top, bottom = 420, 170, 52, 24, 22
    points = " ".join(
        f"{left + (a - first) / (last - first) * (width - left - 8):.1f},"
        f"{top + (high - b) / span * (height - top - bottom):.1f}"
        for a, b in zip(x, shown, strict=True)
    )
    ticks = "".join(
        f'<text class="tick" x="{left - 6}" y="{at:.0f}" text-anchor="end">'
        f"{(10.0**value if logarithmic else value):.3g}</text>"
        for value, at in ((high, top + 4), (low, height - bottom + 4))
    )
    scale = " (log)" if logarithmic else ""
    return (
        f'<svg class="chart" viewBox="0 0 {width} {height}" role="img">'
        f'<text class="title" x="{left}" y="13">{escape(name)}{scale}</text>'
        f'<line class="grid" x1="{left}" x2="{width - 8}" y1="{height - bottom}"'
        f' y2="{height - bottom}"/><line class="grid" x1="{left}" x2="{width - 8}" y1="{top}"'
        f' y2="{top}"/>{ticks}'
        f'<text class="tick" x="{left}" y="{height - 5}">{first:.0f}</text>'
        f'<text class="tick" x="{width - 8}" y="{height - 5}" text-anchor="end">{last:.0f} steps'
        f'</text><polyline class="curve" points="{points}"/></svg>'
    )
