"""How long a text takes to say: the bounds that generation is held to.

Bounds are a net under the model's own end token, not ground truth: wide enough for slow learners
and short words, narrow enough that a run-away costs seconds and not minutes.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

_WIDE_UNITS = 3.0  # a Chinese, Japanese or Korean sign is a syllable: about three letters


@dataclass(frozen=True, kw_only=True)
class SpeakingRate:
    """Seconds of speech for a unit of text (about a letter).

    The defaults hold 99 % of 3392 recordings of read English by 210 speakers, children and
    learners among them: 0.056 to 0.41 s a letter, 0.08 where practised readers read. A word that
    stands alone takes longer than within a sentence, where "of" is over in 0.15 s: nobody, and no
    recogniser, makes out so little of it.
    """

    quickest: float = 0.03
    usual: float = 0.085
    slowest: float = 0.25
    pause: float = 2.0  # seconds of silence that may come on top
    shortest: float = 0.3  # seconds of any text, were it one letter

    def __post_init__(self) -> None:
        ordered = 0 < self.quickest <= self.usual <= self.slowest
        if not ordered or self.pause < 0 or not 0 <= self.shortest <= self.pause:
            raise ValueError(
                f"expected 0 < quickest <= usual <= slowest and 0 <= shortest <= pause; came {self}"
            )

    @classmethod
    def measured(cls, pairs: Iterable[tuple[str, float]], *, margin: float = 1.5) -> SpeakingRate:
        """The pace of a corpus.

        Args:
            pairs: text and seconds of each recording.
            margin: factor by which the bounds are wider than 99 % of the recordings.

        Raises:
            ValueError: if no recording has both.
        """
        rates = [seconds / units(text) for text, seconds in pairs if units(text) and seconds > 0]
        if not rates:
            raise ValueError("no pair of a text and its seconds came, expected at least one")
        low, middle, high = np.quantile(rates, [0.005, 0.5, 0.995])
        return cls(quickest=low / margin, usual=float(middle), slowest=high * margin)

    def bounds(self, text: str) -> tuple[float, float]:
        """Least and most seconds that the text may take."""
        count = units(text)
        return max(self.shortest, self.quickest * count), self.pause + self.slowest * count


USUAL = SpeakingRate()


def units(text: str) -> float:
    """The length of what is said: letters and digits, signs of syllables counted as three.

    Example:
        >>> units("Good morning!"), units("早上好")
        (11.0, 9.0)
    """
    return float(
        sum(
            _WIDE_UNITS if unicodedata.east_asian_width(char) in "WF" else 1.0
            for char in text
            if char.isalnum()
        )
    )


def frames(seconds: float, frame_rate: float) -> int:
    """Whole frames of codes for so many seconds, never less than one."""
    return max(1, math.ceil(seconds * frame_rate))
