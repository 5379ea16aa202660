"""English as it is spoken: the passes of the normaliser, in their order.

Each module gives rules, a rule is a pattern and what its match is spoken as. What could be taken
for something simpler goes first: addresses of the web before abbreviations and symbols, dates and
telephone numbers before ranges, ranges and amounts before single numbers.
"""

from __future__ import annotations

import re
import unicodedata

from .english_amounts import AMOUNTS, NUMBERS
from .english_rules import Rule, apply
from .english_time import TIMES
from .english_words import SYMBOLS, WEB, WORDS

_TIDY: tuple[Rule, ...] = (
    (re.compile(r"\s+"), lambda m: " "),
    (re.compile(r"\(\s*\)"), lambda m: " "),
    (re.compile(r"\s+(?=[,.;:!?)])"), lambda m: ""),
    (re.compile(r"(?<=\()\s+"), lambda m: ""),
    (re.compile(r",(?:\s*,)+"), lambda m: ","),
    (re.compile(r",(?=[.;:!?])"), lambda m: ""),
    (re.compile(r"(?<=[a-z]),(?=[A-Za-z])"), lambda m: ", "),
    (re.compile(r"(?<!\.)\.\.(?!\.)"), lambda m: "."),
    (re.compile(r"^[\s,;:]+"), lambda m: ""),
)


def normalize_english(text: str) -> str:
    """Write out numbers, dates, times, money, units, abbreviations, addresses and symbols.

    Words in capitals (NASA) and letters of other scripts stay as they are; signs without a sound
    (emoji, markup) go. No digit is left.

    Example:
        >>> normalize_english("St. John's Rd. 12 sells 2.5 kg for $5 at 5:30 p.m. & saves 50%!")
        "Saint John's Road twelve sells two point five kilograms for five dollars at five thirty \
p m and saves fifty percent!"
    """
    text = apply(WEB, _digits(text))
    for rules in (TIMES, WORDS, AMOUNTS, SYMBOLS, NUMBERS):
        text = apply(rules, text)
    return apply(_TIDY, _audible(text)).strip()


def _digits(text: str) -> str:
    """Digits of all scripts as 0-9; circled and Roman number signs as what they stand for."""
    out = []
    for char in text:
        kind = unicodedata.category(char)
        if kind == "Nd":
            char = str(unicodedata.decimal(char))
        elif kind in ("No", "Nl") and char not in "²³":
            spelled = unicodedata.normalize("NFKC", char).replace("\u2044", "/")
            char = f" {spelled} " if spelled != char else char
        out.append(char)
    return "".join(out)


def _audible(text: str) -> str:
    """Leave out what has no sound: emoji, drawings, markup, private characters."""
    kept = []
    for char in text:
        kind = unicodedata.category(char)
        if kind[0] in "LMZ" or kind in ("No", "Nl") or char in ".,;:!?'\"()-¿¡":
            kept.append("" if 0xFE00 <= ord(char) <= 0xFE0F else char)
        elif kind[0] == "P" and ord(char) > 0x2FFF:
            kept.append(char)  # Chinese and Japanese punctuation
        elif kind != "Cf":
            kept.append(" ")
    return "".join(kept)
