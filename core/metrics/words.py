"""Edit errors of texts after Whisper's normaliser (jiwer)."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

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
def whisper_normaliser(language: str, spelling: tuple[tuple[str, str], ...] = ()) -> Normalise:
    """Whisper's normaliser of English, or its basic one for other languages.

    Args:
        language: code.
        spelling: pairs of a British and an American spelling, from a Whisper checkpoint.

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
    if language == "en":
        return english_normalizer.EnglishTextNormalizer(dict(spelling))
    return english_normalizer.BasicTextNormalizer()


def count_errors(reference: str, hypothesis: str, *, characters: bool = False) -> TextErrors:
    """Errors of a normalised text against its normalised reference.

    Args:
        reference: the correct text.
        hypothesis: the text to score.
        characters: count characters instead of words.

    Raises:
        ModuleNotFoundError: without jiwer (the extra `eval`).
    """
    jiwer = _jiwer()
    reference, hypothesis = reference.strip(), hypothesis.strip()
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


def _jiwer() -> Any:
    try:
        import jiwer
    except ImportError as error:
        raise ModuleNotFoundError(
            "word error rates need jiwer, which is not installed (the extra 'eval')",
            name="jiwer",
        ) from error
    return jiwer
