"""The figure of ``almtok show`` as PNG: the panels of its page, for papers and slides."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ..core.report.figures import loudest_band, mel_level, scatter_codes
from ..core.report.panels import mel_marks
from .inspection import Inspection
from .show_page import (
    DIFFERENCE_DB,
    RANGE_DB,
    attention_names,
    attention_rows,
    codebooks,
    level_difference,
    summary,
)
from .show_words import ShownWord, words_between

_DPI = 100
WIDTH = 1200  # pixels


def figure(found: Inspection, title: str, words: Sequence[ShownWord] = ()) -> bytes:
    """Return a PNG of an inspection, 1200 pixels wide."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib.figure import Figure

    parts = _parts(found)
    shown = words_between(words, found.start, found.start + found.seconds)
    if shown:
        parts.insert(1, (0.25, "Words", lambda axis: _words(axis, shown)))
    heights = [height for height, _, _ in parts]
    size = (WIDTH / _DPI, 0.75 + sum(heights) + 0.42 * len(parts))
    drawing = Figure(figsize=size, dpi=_DPI, layout="constrained")
    drawing.suptitle(f"{title}\n{summary(found)}", fontsize=11, x=0.01, ha="left", parse_math=False)
    axes = drawing.subplots(len(parts), 1, sharex=True, height_ratios=heights, squeeze=False)[:, 0]
    for axis, (_, name, draw) in zip(axes, parts, strict=True):
        axis.set_title(name, fontsize=10, loc="left")
        axis.tick_params(labelsize=8)
        draw(axis)
    axes[-1].set_xlim(found.start, found.start + found.span)
    axes[-1].set_xlabel("time (s)", fontsize=9)
    buffer = io.BytesIO()
    drawing.savefig(buffer, format="png", dpi=_DPI)
    return buffer.getvalue()


def _parts(found: Inspection) -> list[tuple[float, str, Any]]:
    """Height in inches, title and drawing function of each panel."""
    shown = found.reconstruction if found.original is None else found.original
    top = loudest_band(shown, found.sample_rate)
    parts: list[tuple[float, str, Any]] = [(0.9, "Waveform", lambda a: _waveform(a, found, shown))]
    for name, wav in (("Original", found.original), ("Reconstruction", found.reconstruction)):
        if wav is not None:
            level = mel_level(found.filled(wav), found.sample_rate).T - top
            parts.append(
                (1.5, f"{name}: log-mel spectrogram", _mel(found, level, (-RANGE_DB, 0.0), "magma"))
            )
    if found.original is not None:
        limits = (-DIFFERENCE_DB, DIFFERENCE_DB)
        part = _mel(found, level_difference(found).T, limits, "RdBu_r")
        parts.append((1.5, "Difference: level of the reconstruction less the original", part))
    books = codebooks(found)
    colours = scatter_codes(found.codes)
    parts.append(
        (0.7, "Codes: equal colours are equal codes", _cells(found, colours, books, "turbo", ""))
    )
    if found.confidence is not None:
        part = _cells(found, found.confidence, books, "magma", "1 − d₁/d₂")
        parts.append((0.7, "Confidence: nearest against second nearest entry", part))
    if found.attention is not None:
        shares = 100 * attention_rows(found.attention).mean(axis=0)
        names = attention_names(found.attention)
        part = _cells(found, shares, names, "magma", "%")
        parts.append(
            (0.16 * len(names), "Attention of the queries, mean over layers and heads", part)
        )
    return parts


def _waveform(axis: Any, found: Inspection, wav: npt.NDArray[np.float32]) -> None:
    times = found.start + np.arange(wav.size) / found.sample_rate
    axis.plot(times, wav, linewidth=0.5)
    axis.set_ylabel("amplitude", fontsize=8)


def _words(axis: Any, words: Sequence[ShownWord]) -> None:
    for word in words:
        axis.axvspan(word.start, word.end, color="C0", alpha=0.15)
        middle = (word.start + word.end) / 2
        axis.text(
            middle,
            0.5,
            word.text,
            fontsize=8,
            ha="center",
            va="center",
            clip_on=True,
            parse_math=False,
        )
    axis.set_yticks([])


def _mel(
    found: Inspection, level: npt.NDArray[np.float64], limits: tuple[float, float], colours: str
) -> Any:
    """Drawing function of levels `[bands, frames]` in dB."""

    def draw(axis: Any) -> None:
        image = axis.imshow(
            level, origin="lower", aspect="auto", cmap=colours, vmin=limits[0], vmax=limits[1],
            extent=(found.start, found.start + found.span, 0, 100),
        )  # fmt: skip
        marks = mel_marks(found.sample_rate)
        axis.set_yticks([100 - mark.place for mark in marks], [mark.text for mark in marks])
        _scale(axis, image, "dB", 12)

    return draw


def _cells(
    found: Inspection, values: npt.NDArray[Any], names: list[str], colours: str, unit: str
) -> Any:
    """Drawing function of cells `[rows, Q]`, the first row on top; without a unit, no scale."""

    def draw(axis: Any) -> None:
        image = axis.imshow(
            values, aspect="auto", cmap=colours, interpolation="nearest",
            extent=(found.start, found.start + found.span, len(names), 0),
        )  # fmt: skip
        axis.set_yticks(np.arange(len(names)) + 0.5, names)
        if unit:
            _scale(axis, image, unit, 6)

    return draw


def _scale(axis: Any, image: Any, unit: str, aspect: float) -> None:
    bar = axis.figure.colorbar(image, ax=axis, pad=0.01, aspect=aspect)
    bar.set_label(unit, fontsize=8)
    bar.ax.tick_params(labelsize=7)
