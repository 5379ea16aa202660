"""Word and character error rates (jiwer, after the Whisper normaliser), with intervals.

Compare them only with figures after the same normaliser.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

from ...core.metrics.intervals import Interval, Score, rate_interval
from ...core.metrics.words import Normalise, TextErrors, count_errors, whisper_normaliser
from ...lm.text.normalize import base_of, normalize

Spelling = tuple[tuple[str, str], ...]


@functools.cache
def normaliser(language: str = "en", spelling: Spelling = ()) -> Normalise:
    """What is done to both texts before they are compared.

    For English it is Whisper's normaliser (numbers, contractions). Texts of other languages are
    written out by `lm.text.normalize`, where it knows them, before Whisper's basic normaliser.

    Args:
        language: code; "" is English.
        spelling: pairs of a British and an American spelling, of a recognizer.

    Raises:
        ModuleNotFoundError: if this version of transformers has none.
    """
    if base_of(language or "en") == "en":
        return whisper_normaliser("en", spelling)
    basic = whisper_normaliser(language)

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
    spelling: Spelling = (),
) -> TextErrors:
    """Errors of a text against its reference.

    Args:
        reference: the correct text.
        hypothesis: the text to score.
        characters: count characters instead of words.
        language: of both texts, see :func:`normaliser`.
        spelling: see :func:`normaliser`.

    Raises:
        ModuleNotFoundError: without jiwer (the extra `eval`).
    """
    normalise = normaliser(language, spelling)
    return count_errors(normalise(reference), normalise(hypothesis), characters=characters)


def error_rate(
    references: Sequence[str],
    hypotheses: Sequence[str],
    *,
    characters: bool = False,
    language: str | Sequence[str] = "en",
    spelling: Spelling = (),
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
        text_errors(reference, hypothesis, characters=characters, language=code, spelling=spelling)
        for reference, hypothesis, code in zip(references, hypotheses, languages, strict=True)
    ]
    return rate_interval(
        [count.errors for count in counts], [count.size for count in counts], seed=seed
    )


def word_scores(
    outputs: Sequence[str],
    references: Sequence[str],
    languages: Sequence[str],
    spelling: Spelling = (),
) -> list[Score]:
    """WER and CER of a corpus."""
    wer = error_rate(references, outputs, language=languages, spelling=spelling)
    cer = error_rate(references, outputs, language=languages, spelling=spelling, characters=True)
    return [Score("WER", wer, percent=True), Score("CER", cer, percent=True)]
