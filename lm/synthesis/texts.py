"""Texts to read aloud: of corpora and text files, without those that must not be learned."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path

from ...core.data.manifests import list_entries
from ...core.data.sources import parse_source
from ...core.reading import reading
from ..text.normalize import NothingToSay, clean, is_known, normalize, plain

logger = logging.getLogger(__name__)

_TEXT_FILE = ".txt"


def read_texts(sources: Sequence[str]) -> list[str]:
    """Return the texts of some sources, cleaned, in their order, each once.

    Args:
        sources: Text files (``.txt``, UTF-8, a text per line), or corpora as for ``--data``; of a
            corpus that names its splits, the rows of train unless the source names a split.

    Raises:
        ValueError: A source does not exist, cannot be read or has no text.
    """
    found: dict[str, None] = {}
    for source in sources:
        texts = list(filter(None, (clean(text) for text in _texts_of(source))))
        if not texts:
            raise ValueError(f"no text in {source}: expected transcripts, or lines of a .txt file")
        found.update(dict.fromkeys(texts))
    return list(found)


def _texts_of(source: str) -> list[str]:
    if source.lower().endswith(_TEXT_FILE) and Path(source).is_file():
        with reading(source):
            return Path(source).read_text(encoding="utf-8-sig").split("\n")
    entries = list_entries([source], transcripts=True)
    if parse_source(source).split is None:
        train = [entry for entry in entries if entry.split in ("", "train")]
        if len(train) < len(entries):
            logger.info("%s: %d texts of other splits than train are not read",
                        source, len(entries) - len(train))  # fmt: skip
        entries = train
    return [entry.text for entry in entries]


def spoken_form(text: str, language: str) -> str:
    """Write a text out as it is spoken; texts of languages without rules are only cleaned.

    Transcripts in capitals become lower-case: capitals would be read as abbreviations.

    Raises:
        ValueError: It has nothing to say, or letters that are not read in the language.
    """
    if text.isupper() and len(text.split()) > 1:
        text = text.capitalize()
    spoken = normalize(text, language if is_known(language) else None)
    if not plain(spoken):
        raise NothingToSay(f"{text[:40]!r} has no words")
    return spoken


class Excluded:
    """Texts that must not be read, compared as lower-case spoken words."""

    def __init__(self, texts: Iterable[str], language: str) -> None:
        self._language = language
        self.keys = frozenset(self.key(text) for text in texts)

    def key(self, text: str) -> str:
        """What texts are compared by."""
        try:
            return plain(spoken_form(text, self._language))
        except ValueError:
            return plain(text)

    def __contains__(self, text: str) -> bool:
        return bool(self.keys) and self.key(text) in self.keys


def read_excluded(sources: Sequence[str], language: str) -> Excluded:
    """Return the texts of text files and corpora (all splits, unless a source names one).

    Raises:
        ValueError: A source does not exist, cannot be read or has no text.
    """
    texts: list[str] = []
    for source in sources:
        if source.lower().endswith(_TEXT_FILE) and Path(source).is_file():
            found = _texts_of(source)
        else:
            found = [entry.text for entry in list_entries([source], transcripts=True)]
        found = [text for text in found if text.strip()]
        if not found:
            raise ValueError(f"no text in {source}: nothing could be excluded")
        texts += found
    return Excluded(texts, language)
