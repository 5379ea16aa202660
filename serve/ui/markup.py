"""HTML of the page: tables, word differences, figures and players. All texts are escaped."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import numpy as np
import numpy.typing as npt

from ...core.report.figures import code_map_url, flac_url, loudest_band, spectrogram_url
from ...tasks.evaluation.diff import Diff
from ...tasks.word_times import TimedWord


def table(headers: Sequence[str], rows: Sequence[Sequence[object]], caption: str) -> str:
    """A table that scrolls within itself on narrow screens."""
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in headers)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(str(cell))}</td>" for cell in row) + "</tr>" for row in rows
    )
    return (
        f'<div class="almtok-table" tabindex="0" role="region" aria-label="{escape(caption)}">'
        f"<table><caption>{escape(caption)}</caption><thead><tr>{head}</tr></thead>"
        f"<tbody>{body}</tbody></table></div>"
    )


def lines(texts: Sequence[str]) -> str:
    """Short paragraphs."""
    return "".join(f'<p class="almtok-line">{escape(text)}</p>' for text in texts)


def word_differences(diff: Diff) -> str:
    """The words of a text; wrong ones are struck through and followed by what was heard."""
    words = []
    for word in diff.words:
        if word.kind == "equal":
            words.append(escape(word.reference))
            continue
        if word.reference:
            words.append(f"<del>{escape(word.reference)}</del>")
        if word.hypothesis:
            words.append(f"<ins>{escape(word.hypothesis)}</ins>")
    count = diff.errors
    text = "Self-check: every word was recognized." if not count else (
        f"Self-check: {count} word{'s' if count != 1 else ''} not as written"
        " (struck through: the text; underlined: what was recognized)."
    )  # fmt: skip
    return f'{lines([text])}<p class="almtok-diff">{" ".join(words)}</p>'


def word_table(words: Sequence[TimedWord]) -> str:
    """Words with their times."""
    rows = [
        (word.text, f"{word.start:.2f}", f"{word.end:.2f}", f"{word.confidence:.2f}")
        for word in words
    ]
    return table(("word", "start (s)", "end (s)", "confidence"), rows, "Word times")


def spectrograms(original: npt.ArrayLike, decoded: npt.ArrayLike, sample_rate: int) -> str:
    """Mel spectrograms of two waveforms [S] side by side, at one scale."""
    loudest = loudest_band(original, sample_rate)
    figures = "".join(
        _figure(spectrogram_url(wav, sample_rate, loudest=loudest), f"Mel spectrogram: {name}")
        for wav, name in ((original, "original"), (decoded, "reconstruction"))
    )
    return f'<div class="almtok-pair">{figures}</div>'


def code_map(codes: npt.NDArray[np.int64]) -> str:
    """A picture of codes [K, Q]: a row per codebook, a colour per code."""
    layers, columns = codes.shape
    text = f"Codes: {layers} codebooks (rows), {columns} frames (columns)"
    return _figure(code_map_url(codes), text, "almtok-codes")


def player(wav: npt.ArrayLike, sample_rate: int, name: str) -> str:
    """A player of samples [S] whose address tells nothing of its source."""
    return (
        f'<div class="almtok-player"><span>{escape(name)}</span><audio controls preload="auto"'
        f' aria-label="{escape(name)}" src="{flac_url(wav, sample_rate)}"></audio></div>'
    )


def _figure(url: str, text: str, kind: str = "") -> str:
    return (
        f'<figure class="almtok-figure {kind}"><img src="{url}" alt="{escape(text)}">'
        f"<figcaption>{escape(text)}</figcaption></figure>"
    )
