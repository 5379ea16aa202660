"""Words with times beside the pictures of ``almtok show``."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

from ..core.reading import read_json_object, reading


@dataclass(frozen=True)
class ShownWord:
    """A word with its place in the recording."""

    text: str
    start: float  # seconds
    end: float  # seconds


def read_words(path: str | os.PathLike[str]) -> list[ShownWord]:
    """Read a JSON object whose `words` have `word`, `start` and `end` in seconds.

    Raises:
        ValueError: the file holds something else.
        OSError: the file cannot be read.
    """
    with reading(path):
        values = read_json_object(path).get("words")
        if not isinstance(values, list):
            raise ValueError(f"words must be a list of word, start and end, got {values!r:.60}")
        words = []
        for value in values:
            try:
                word = ShownWord(str(value["word"]), float(value["start"]), float(value["end"]))
            except (KeyError, TypeError, ValueError):
                raise ValueError(
                    f"a word must have word, start and end, got {value!r:.60}"
                ) from None
            words.append(word)
        return words


def words_between(words: Sequence[ShownWord], start: float, stop: float) -> list[ShownWord]:
    """Return the words that are heard between two times, cut to them."""
    return [
        ShownWord(word.text, max(word.start, start), min(word.end, stop))
        for word in words
        if word.start < stop and word.end > start
    ]
