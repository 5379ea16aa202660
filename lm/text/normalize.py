"""What is written -> what is spoken, by language: "Dr. Lee" -> "Doctor Lee".

Pure Python, no grammar to compile. A language is one function from text to text;
`register_normalizer` adds one, and everything that takes a `language` then knows it.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable

from .english import normalize_english
from .european import normalizer_of
from .european_words import FRENCH, GERMAN, SPANISH

Normalizer = Callable[[str], str]

_NORMALIZERS: dict[str, Normalizer] = {}
_QUOTES = str.maketrans(
    {
        "\u2018": "'", "\u2019": "'", "\u201b": "'", "\u2032": "'", "\u02bc": "'",
        "\u201c": '"', "\u201d": '"', "\u201e": '"', "\u2033": '"', "\u00ab": '"', "\u00bb": '"',
        "\u2010": "-", "\u2011": "-", "\u2212": "-", "\u2044": "/", "\u2026": "...",
        "\u200b": "", "\u200e": "", "\u200f": "", "\u00ad": "", "\ufeff": "",
    }
)  # fmt: skip
# Signs that make no sound; inside a word an apostrophe and a hyphen belong to it.
_UNSPOKEN = re.compile(r"[^\w\s'-]|_|(?<!\w)['-]|['-](?!\w)")


_PASSES = 4
# How corpora name languages that are known.
_NAMES = {
    "eng": "en", "english": "en", "deu": "de", "ger": "de", "german": "de", "fra": "fr",
    "fre": "fr", "french": "fr", "spa": "es", "spanish": "es",
}  # fmt: skip


class NothingToSay(ValueError):
    """A text without a word in it: only spaces, signs or pictures."""


def base_of(language: str) -> str:
    """The code without its region: "en" of "en-GB" and "en_us"; also of "eng" and "English"."""
    base = re.split("[-_]", language.lower())[0]
    return _NAMES.get(base, base)


def register_normalizer(language: str, normalizer: Normalizer) -> None:
    """Make a language known by its code ("de", "pt-br"); the newest registration counts.

    Raises:
        ValueError: if the code is not lower-case letters, perhaps with a region.
    """
    if not re.fullmatch(r"[a-z]{2,3}(-[a-z0-9]+)*", language):
        raise ValueError(f"a language code such as 'de' or 'pt-br' is expected; came {language!r}")
    _NORMALIZERS[language] = normalizer


def normalize(text: str, language: str | None = "en") -> str:
    """Write out what is spoken differently than it is written.

    Args:
        text: Any text.
        language: Code of a registered language ("en-gb" falls back on "en"); None only cleans:
            one kind of quotes, composed letters, no control characters, single spaces.

    Returns:
        Words and punctuation, in their case. Normalising again changes nothing.

    Raises:
        ValueError: if the language is not registered, with those that are; or if the text has
            letters that are not read in it (Chinese in English), with these.

    Example:
        >>> normalize("Dr. Lee paid $5.20 on 3/4/2021.")
        'Doctor Lee paid five dollars and twenty cents on March fourth, twenty twenty-one.'
    """
    if language is None:
        return clean(text)
    code = language.lower().replace("_", "-")
    normalizer = _NORMALIZERS.get(code) or _NORMALIZERS.get(base_of(code))
    if normalizer is None:
        raise ValueError(
            f"no text normaliser for language {language!r}; there are {', '.join(languages())}. "
            f"Register one (register_normalizer) or pass language=None"
        )
    text = clean(text)
    # What is written out may be read anew: "5 Dr." is a street only as "five Dr.".
    for _ in range(_PASSES):
        text, before = clean(normalizer(text)), text
        if text == before:
            break
    return text


def languages() -> tuple[str, ...]:
    """Codes of the registered languages."""
    return tuple(sorted(_NORMALIZERS))


def is_known(language: str) -> bool:
    """Whether there is a normaliser of the language, or of the one that it is a region of."""
    return language.lower().replace("_", "-") in _NORMALIZERS or base_of(language) in _NORMALIZERS


def clean(text: str) -> str:
    """Composed letters, one kind of quotes and hyphens, no control characters, single spaces."""
    text = unicodedata.normalize("NFC", text).translate(_QUOTES)
    text = "".join(" " if unicodedata.category(char) == "Cc" else char for char in text)
    return " ".join(text.split())


def plain(text: str) -> str:
    r"""Lower-case words alone, to compare by: no punctuation but inside words.

    Example:
        >>> plain('"Well-known," he said; isn\'t it?')
        "well-known he said isn't it"
    """
    return " ".join(_UNSPOKEN.sub(" ", clean(text).lower()).split())


register_normalizer("en", normalize_english)
for _language in (GERMAN, FRENCH, SPANISH):
    register_normalizer(_language.code, normalizer_of(_language))
