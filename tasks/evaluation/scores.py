"""Word and character error rates (jiwer, after the Whisper normaliser), with intervals.

Compare them only with figures after the same normaliser.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ...core.metrics.intervals import Interval, Score, rate_interval
from ...lm.text.normalize import base_of, normalize

Normalise = Callable[[str], str]


@dataclass(frozen=True)
class TextErrors:
    """Edit errors of one text."""

    substitutions: int
    deletions: int
    insertions: int
    size: int  # words or characters in the reference

    @property
    def errors(self) -> int:
        """Sum of all kinds."""
        return self.substitutions + self.deletions + self.insertions

    @property
    def rate(self) -> float:
        """Errors per word or character of the reference."""
        return self.errors / max(1, self.size)


@functools.cache
def normaliser(language: str = "en") -> Normalise:
    """What is done to both texts before they are compared.

    For English it is Whisper's normaliser (numbers, contractions). Texts of other languages are
    written out by `lm.text.normalize`, where it knows them, before Whisper's basic normaliser.

    Args:
        language: code; "" is English.

    Raises:
        ModuleNotFoundError: if this version of transformers has none.
    """
    try:
        from transformers.models.whisper import english_normalizer
    except ImportError as error:
        raise ModuleNotFoundError(
            "the Whisper normaliser is part of transformers; this installation has none",
            name="transformers",
        ) from error
    # Without the table of British spellings, which is a file of a checkpoint on the hub.
    if base_of(language or "en") == "en":
        return english_normalizer.EnglishTextNormalizer({})
    basic = english_normalizer.BasicTextNormalizer()

    def written_out(text: str) -> str:
        try:
            return basic(normalize(text, language))
        except ValueError:  # no rules for the language, or letters of another: as it is written
            return basic(text)

    return written_out


def text_errors(
    reference: str,
    hypothesis: str,
    *,
    characters: bool = False,
    language: str = "en",
) -> TextErrors:
    """Errors of a text against its reference.

    Args:
        reference: the correct text.
        hypothesis: the text to score.
        characters: count characters instead of words.
        language: of both texts, see :func:`normaliser`.

    Raises:
        ModuleNotFoundError: without jiwer (the extra `eval`).
    """
    jiwer = _jiwer()
    normalise = normaliser(language)
    reference, hypothesis = normalise(reference).strip(), normalise(hypothesis).strip()
    if not reference:  # jiwer refuses an empty reference: all words are insertions
        return TextErrors(0, 0, len(hypothesis if characters else hypothesis.split()), 0)
    process = jiwer.process_characters if characters else jiwer.process_words
    found = process(reference, hypothesis)
    return TextErrors(
        found.substitutions,
        found.deletions,
        found.insertions,
        found.hits + found.substitutions + found.deletions,
    )


def error_rate(
    references: Sequence[str],
    hypotheses: Sequence[str],
    *,
    characters: bool = False,
    language: str | Sequence[str] = "en",
    seed: int = 0,
) -> Interval:
    """WER or CER of a corpus, with its interval; `language` is of all texts, or of each.

    Raises:
        ValueError: for lists of different lengths, no texts, or references without words.
    """
    if len(references) != len(hypotheses):
        raise ValueError(
            f"hypotheses must be {len(references)}, as the references, got {len(hypotheses)}"
        )
    languages = [language] * len(references) if isinstance(language, str) else language
    counts = [
        text_errors(reference, hypothesis, characters=characters, language=code)
        for reference, hypothesis, code in zip(references, hypotheses, languages, strict=True)
    ]
    return rate_interval(
        [count.errors for count in counts], [count.size for count in counts], seed=seed
    )


def word_scores(
    outputs: Sequence[str], references: Sequence[str], languages: Sequence[str]
) -> list[Score]:
    """WER and CER of a corpus."""
    wer = error_rate(references, outputs, language=languages)
    cer = error_rate(references, outputs, language=languages, characters=True)
    return [Score("WER", wer, percent=True), Score("CER", cer, percent=True)]


def _jiwer() -> Any:
    try:
        import jiwer
    except ImportError as error:
        raise ModuleNotFoundError(
            "word error rates need jiwer, which is not installed (the extra 'eval')",
            name="jiwer",
        ) from error
    return jiwer
