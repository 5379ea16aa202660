"""HTML of audio and codes in a notebook: small, of bounded size, without matplotlib.

Colours are those of the notebook, so that it is readable in dark mode.
Letters: S samples, K codebooks, Q positions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .figures import flac_url, scatter_codes
from .render import render

MOST_SECONDS = 30.0  # of a player
MOST_COLUMNS = 200  # of a code map
_MOST_LETTERS = 2_000  # of a text


@dataclass(frozen=True)
class Html:
    """HTML that a notebook displays."""

    html: str

    def _repr_html_(self) -> str:
        return self.html


def card(
    *,
    facts: Sequence[str],
    text: str | None = None,
    codes: npt.NDArray[np.int64] | None = None,
    wav: npt.ArrayLike | None = None,
    sample_rate: int = 24_000,
    problems: Sequence[str] = (),
) -> str:
    """Return HTML of a piece of audio; every part may be missing.

    Args:
        facts: short facts, in one line.
        text: what it says; cut to 2,000 letters.
        codes: `[K, Q]`; the first 200 columns are drawn.
        wav: samples `[S]`; a player has the first 30 s.
        sample_rate: in Hz.
        problems: detected problems.
    """
    facts, player = list(facts), ""
    if wav is not None:
        samples = np.asarray(wav, dtype=np.float32)
        limit = int(MOST_SECONDS * sample_rate)
        if samples.size > limit:
            facts.append(f"player: first {MOST_SECONDS:.0f} s")
        if samples.size and np.isfinite(samples).all():
            player = flac_url(samples[:limit], sample_rate)
    cells: list[tuple[int, int, int]] = []
    if codes is not None and codes.size:
        if codes.shape[1] > MOST_COLUMNS:
            facts.append(f"map: first {MOST_COLUMNS} of {codes.shape[1]} columns")
        codes = codes[:, :MOST_COLUMNS]
        hues = (360 * scatter_codes(codes)).astype(int)
        cells = [(column, row, int(hue)) for (row, column), hue in np.ndenumerate(hues)]
    if text is not None and len(text) > _MOST_LETTERS:
        text = text[:_MOST_LETTERS] + "…"
    return render(
        "notebook.html",
        facts=facts,
        text=text,
        player=player,
        cells=cells,
        shape=(0, 0) if codes is None else codes.shape,
        problems=problems,
    )
