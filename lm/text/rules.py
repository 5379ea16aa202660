"""What the normalisers of all languages share: rules, what comes before them and what comes after.

A rule is a pattern and what its match is spoken as. Before the rules a text is folded (`fold`);
after them what has no sound is left out, and what nobody could read in the language is an error
(`finish`).
"""

from __future__ import annotations

import functools
import html
import logging
import re
import unicodedata
from collections.abc import Callable, Iterable

logger = logging.getLogger(__name__)

Rule = tuple[re.Pattern[str], Callable[[re.Match[str]], str]]

# 12  1,234,567  3.14  .5
NUMBER = r"(?:(?:[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])|[0-9]+)(?:\.[0-9]+)?|(?<![0-9])\.[0-9]+)"
# Nothing before a number that would make it the end of something else.
ALONE = r"(?<![\w.,])(?<!\w-)"
# Up to 399, not empty.
ROMAN = r"(?=[IVXLC])(?:XC|XL|L?X{0,3}|C{1,3}(?:XC|XL|L?X{0,3}))(?:IX|IV|V?I{0,3})(?<=[IVXLC])"
_VALUES = {"I": 1, "V": 5, "X": 10, "L": 50, "C": 100}

# Signs that stay as they are, though Unicode knows a simpler form.
_KEPT = "²³ªº™©®µ"
_SIGNS = str.maketrans({"。": ". ", "、": ", ", "・": " ", "´": " ", "`": " ", "¨": " ", "¸": " "})
_APOSTROPHE = re.compile(r"(?<=\w)[`´](?=\w)")
_READ = ".,;:!?'\"()-¿¡"
_GREEK = re.compile(r"(?<![Ͱ-Ͽ])[Α-Ωα-ω](?![Ͱ-Ͽ])")
_TIDY: tuple[Rule, ...] = (
    (re.compile(r"\s+"), lambda m: " "),
    (re.compile(r"\(\s*\)"), lambda m: " "),
    (re.compile(r"\s+(?=[,.;:!?)])"), lambda m: ""),
    (re.compile(r"(?<=\()\s+"), lambda m: ""),
    (re.compile(r",(?:\s*,)+"), lambda m: ","),
    (re.compile(r",(?=[.;:!?])"), lambda m: ""),
    (re.compile(r"(?<=[^\W\d_]),(?=[^\W\d_])"), lambda m: ", "),
    (re.compile(r"(?<!\.)\.\.(?!\.)"), lambda m: "."),
    (re.compile(r"^[\s,;:]+"), lambda m: ""),
)


def apply(rules: Iterable[Rule], text: str) -> str:
    """Apply rules one after another; what a rule writes never grows together with a word beside."""
    for pattern, spoken in rules:
        text = pattern.sub(functools.partial(_apart, spoken), text)
    return text


def _apart(spoken: Callable[[re.Match[str]], str], match: re.Match[str]) -> str:
    words, written, text = spoken(match), match.group(), match.string
    first, last = words[:1], words[-1:]  # an edge that did not change was no word's own
    if (
        first.isalnum()
        and first != written[:1]
        and text[match.start() - 1 : match.start()].isalnum()
    ):
        words = f" {words}"
    if last.isalnum() and last != written[-1:] and text[match.end() : match.end() + 1].isalnum():
        words = f"{words} "
    return words


def final_stop(match: re.Match[str]) -> str:
    """A stop for an abbreviation that had one, if a sentence seems to end there."""
    after = match.string[match.end() :][:40]
    if not after.strip() or re.match(r"[\"')]*\s+[\"'(]*[A-Z]", after):
        return "."
    return ""


def roman_value(numeral: str) -> int:
    """The value of a Roman numeral."""
    values = [_VALUES[letter] for letter in numeral]
    return sum(
        -value if value < following else value
        for value, following in zip(values, [*values[1:], 0], strict=True)
    )


def fold(text: str) -> str:
    """Entities of HTML as their characters, digits of all scripts as 0-9, NFKC of the rest.

    Full-width letters and ligatures become plain ones, circled and Roman number signs what they
    stand for.
    """
    out = []
    for char in _APOSTROPHE.sub("'", html.unescape(text)).translate(_SIGNS):
        kind = unicodedata.category(char)
        if kind == "Nd":
            char = str(unicodedata.decimal(char))
        elif char not in _KEPT and not unicodedata.is_normalized("NFKC", char):
            simple = unicodedata.normalize("NFKC", char).replace("\u2044", "/")
            char = f" {simple} " if kind in ("No", "Nl") else simple
        out.append(char)
    return unicodedata.normalize("NFC", "".join(out))


def finish(text: str, language: str) -> str:
    """Leave out what has no sound, with a warning of pictures and the like, and tidy up the spaces.

    Raises:
        ValueError: if letters are left that are not read in the language, with these.
    """
    text = apply([(_GREEK, lambda m: unicodedata.name(m[0]).split()[-1].lower())], text)
    kept, foreign = [], []
    for char in text:
        kind = unicodedata.category(char)
        if kind[0] == "L" and kind != "Lm" and not _is_latin(char):
            foreign.append(char)
        elif kind[0] == "S" and char > "\u00ff" and not "\u2500" <= char <= "\u25ff":
            _warn_of(char, language)  # neither markup nor bullets and frames
        said = _is_latin(char) or char in _READ or "\u0300" <= char <= "\u036f"
        kept.append(char if said else "" if kind == "Cf" or kind[0] == "M" else " ")
    if foreign:
        scripts = dict.fromkeys(unicodedata.name(char, "unnamed").split()[0] for char in foreign)
        raise ValueError(
            f"a text in language {language!r} must have Latin letters, got "
            f"{''.join(foreign[:20])!r} ({', '.join(scripts)})"
        )
    return apply(_TIDY, "".join(kept)).strip()


@functools.cache
def _is_latin(char: str) -> bool:
    return char.isalpha() and unicodedata.name(char, "").startswith(("LATIN", "FEMININE", "MASCU"))


@functools.cache
def _warn_of(char: str, language: str) -> None:
    """Once for each sign."""
    name = unicodedata.name(char, "unnamed").lower()
    logger.warning("%r (%s) has no words in language %r: it is left out", char, name, language)
