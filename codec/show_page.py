"""The page of ``almtok show``: panels, players and figures of an inspection."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ..core.report.figures import (
    code_map_url,
    flac_url,
    loudest_band,
    mel_level,
    png_url,
    spectrogram_url,
)
from ..core.report.panels import Box, Panel, level_marks, mel_marks, outline, row_marks, time_marks
from ..core.report.render import render
from .inspection import Inspection
from .query_attention import QueryAttention
from .show_words import ShownWord, words_between

RANGE_DB = 70.0  # of levels below the loudest band
DIFFERENCE_DB = 20.0  # of the difference of levels, to either side
CONFIDENCE = (
    "Confidence of a code is 1 − d₁/d₂: d₁ is the distance of the query (less the entries of the"
    " codebooks before) to the chosen entry, d₂ to the second nearest; 0 is a draw, 1 an exact hit."
)
ATTENTION = (
    "Attention of a query is the mean over layers and heads of its softmax weights: to each frame"
    " of its own window, to itself, and to all earlier windows together."
)


def page(found: Inspection, title: str, what: str, words: Sequence[ShownWord] = ()) -> str:
    """Return the HTML of an inspection.

    Args:
        found: what to show.
        title: heading.
        what: the codec, for the facts.
        words: of the recording, with times.
    """
    panels = [*_sound_panels(found), _code_panel(found)]
    shown = words_between(words, found.start, found.start + found.seconds)
    if shown:
        panels.insert(1, _word_panel(found, shown))
    if found.confidence is not None:
        panels.append(_confidence_panel(found, found.confidence))
    layers: list[tuple[str, list[float]]] = []
    if found.attention is not None:
        panels.append(_attention_panel(found, found.attention))
        means = attention_rows(found.attention).mean(axis=2)  # [M, rows]
        layers = [(f"layer {number}", row.tolist()) for number, row in enumerate(means, start=1)]
    players = [("Original", found.original), ("Reconstruction", found.reconstruction)]
    return render(
        "show.html",
        title=title,
        summary=summary(found),
        facts=facts(found, what),
        players=[(n, flac_url(wav, found.sample_rate)) for n, wav in players if wav is not None],
        panels=panels,
        layers=layers,
        layer_head=["", *(attention_names(found.attention) if found.attention else [])],
        seconds=found.span,
        notes=_notes(found),
    )


def summary(found: Inspection) -> str:
    """The excerpt in a sentence."""
    _, count = found.codes.shape
    stop = found.start + found.seconds
    return (
        f"{found.start:.2f} to {stop:.2f} s: {count} queries of {1000 * found.window:.0f} ms,"
        f" {found.codes.size} codes ({found.codes.size / (count * found.window):.1f} per second)."
    )


def facts(found: Inspection, what: str) -> list[str]:
    """Short facts of the excerpt."""
    known = [
        what,
        f"{found.sample_rate / 1000:g} kHz",
        f"{found.frames_per_query} frames per query",
    ]
    for number, row in enumerate(found.codes, start=1):
        known.append(f"codebook {number}: {len(np.unique(row))} different codes")
    if found.num_speech:
        share = float((found.codes[0] < found.num_speech).mean())
        known.append(f"{100 * share:.0f} % of codebook 1 are speech entries of the prior")
    if found.original is not None:
        distance = float(np.abs(level_difference(found)).mean())
        known.append(f"mean difference of levels {distance:.1f} dB")
    return known


def level_difference(found: Inspection) -> npt.NDArray[np.float64]:
    """Level of the reconstruction less that of the original in dB, `[frames, bands]`.

    Bands more than 70 dB below the loudest count as if they were 70 dB below it.
    """
    assert found.original is not None
    floor = loudest_band(found.original, found.sample_rate) - RANGE_DB
    pair = (found.reconstruction, found.original)
    ours, theirs = (
        np.maximum(mel_level(found.filled(wav), found.sample_rate), floor) for wav in pair
    )
    return ours - theirs


def attention_names(attention: QueryAttention) -> list[str]:
    """Names of the rows of :func:`attention_rows`."""
    w = attention.frames.shape[-1]
    later = ["later"] if bool(attention.after.any()) else []
    return ["earlier", *(f"frame {number}" for number in range(1, w + 1)), "query", *later]


def attention_rows(attention: QueryAttention) -> npt.NDArray[np.float32]:
    """Shares `[M, rows, Q]` of what a query attends to."""
    parts = [attention.before[..., None], attention.frames, attention.itself[..., None]]
    if bool(attention.after.any()):
        parts.append(attention.after[..., None])
    return np.concatenate([part.numpy() for part in parts], axis=-1).transpose(0, 2, 1)


def codebooks(found: Inspection) -> list[str]:
    """Names of the codebooks."""
    return [f"codebook {number}" for number in range(1, len(found.codes) + 1)]


def _sound_panels(found: Inspection) -> list[Panel]:
    rate, across = found.sample_rate, time_marks(found.start, found.span)
    shown = found.reconstruction if found.original is None else found.original
    peak = max(float(np.abs(shown).max()), 1e-4)
    alt = f"waveform, {found.seconds:.1f} s, peak {peak:.2f} of full scale"
    note = "share of full scale"
    panels = [
        Panel(
            "Waveform",
            note,
            alt,
            90,
            across,
            level_marks(peak),
            outline=outline(found.filled(shown), peak),
        )
    ]
    loudest = loudest_band(shown, rate)
    note = f"log-mel; black is {RANGE_DB:.0f} dB below the loudest band"
    versions = [("Original", found.original), ("Reconstruction", found.reconstruction)]
    for name, wav in versions:
        if wav is not None:
            image = spectrogram_url(found.filled(wav), rate, loudest=loudest)
            alt = f"log-mel spectrogram of the {name.lower()}, 0 to {rate / 2000:g} kHz"
            panels.append(Panel(name, note, alt, 150, across, mel_marks(rate), image=image))
    if found.original is not None:
        difference = level_difference(found)
        image = png_url(((difference / DIFFERENCE_DB + 1) / 2).T[::-1], "RdBu_r")
        note = "level of the reconstruction less the original:"
        note += f" red +{DIFFERENCE_DB:.0f} dB (too loud), blue −{DIFFERENCE_DB:.0f} dB"
        alt = f"difference of the spectrograms, on average {np.abs(difference).mean():.1f} dB"
        panels.append(Panel("Difference", note, alt, 150, across, mel_marks(rate), image=image))
    return panels


def _word_panel(found: Inspection, words: Sequence[ShownWord]) -> Panel:
    scale = 100 / found.span
    boxes = [
        Box(scale * (word.start - found.start), scale * (word.end - word.start), word.text)
        for word in words
    ]
    alt = " ".join(word.text for word in words)
    across = time_marks(found.start, found.span)
    return Panel("Words", "by their times", alt, 27, across, [], boxes=boxes)


def _code_panel(found: Inspection) -> Panel:
    note = f"a column per {1000 * found.window:.0f} ms; equal colours are equal codes"
    distinct = ", ".join(str(len(np.unique(row))) for row in found.codes)
    alt = f"map of {found.codes.shape[1]} columns of codes; different codes by codebook: {distinct}"
    return _cells(found, "Codes", note, alt, codebooks(found), code_map_url(found.codes), 24)


def _confidence_panel(found: Inspection, confidence: npt.NDArray[np.float32]) -> Panel:
    brightest = max(float(np.quantile(confidence, 0.99)), 1e-6)
    note = f"1 − d₁/d₂ of each code; black 0, brightest {brightest:.2f}"
    means = ", ".join(f"{row.mean():.3f}" for row in confidence)
    alt = f"confidence of the codes; means by codebook: {means}"
    image = png_url(confidence.astype(np.float64) / brightest, "magma")
    return _cells(found, "Confidence", note, alt, codebooks(found), image, 24)


def _cells(
    found: Inspection, title: str, note: str, alt: str, rows: list[str], image: str, height: int
) -> Panel:
    """A panel of cells, a column per query; `height` of a row in pixels."""
    return Panel(
        title, note, alt, height * len(rows), time_marks(found.start, found.span), row_marks(rows),
        image, pixelated=True,
    )  # fmt: skip


def _attention_panel(found: Inspection, attention: QueryAttention) -> Panel:
    names, shares = attention_names(attention), attention_rows(attention).mean(axis=0)  # [rows, Q]
    brightest = float(shares.max())
    note = f"what each query attends to; black 0, brightest {100 * brightest:.0f} %"
    best = names[int(shares.mean(axis=1).argmax())]
    alt = f"attention of {shares.shape[1]} queries to the frames of their windows, most to {best}"
    image = png_url(shares.astype(np.float64) / brightest, "magma")
    return _cells(found, "Attention of the queries", note, alt, names, image, 17)


def _notes(found: Inspection) -> list[str]:
    notes = [
        "Colours of the code map are arbitrary: neighbouring numbers of a codebook are unrelated."
    ]
    if found.attention is not None:
        notes.append(ATTENTION)
    if found.confidence is not None:
        notes.append(CONFIDENCE)
    return notes
