"""English as it is spoken: the passes of the normaliser, in their order.

Each module gives rules, a rule is a pattern and what its match is spoken as. What could be taken
for something simpler goes first: addresses of the web before abbreviations and symbols, dates and
telephone numbers before ranges, ranges and amounts before single numbers.
"""

from __future__ import annotations

import re

from .english_amounts import AMOUNTS, NUMBERS
from .english_time import TIMES
from .english_words import SYMBOLS, WEB, WORDS
from .rules import apply, finish, fold

_DIGIT = re.compile("[0-9]")


def normalize_english(text: str) -> str:
    """Write out numbers, dates, times, money, units, abbreviations, addresses and symbols.

    Words in capitals (NASA) stay as they are; signs without a sound (markup) go, pictures with a
    warning. No digit is left.

    Raises:
        ValueError: if there are letters of another script than the Latin one.

    Example:
        >>> normalize_english("St. John's Rd. 12 sells 2.5 kg for $5 at 5:30 p.m. & saves 50%!")
        "Saint John's Road twelve sells two point five kilograms for five dollars at five thirty \
P M and saves fifty percent!"
    """
    text = fold(text).replace("º", "°")
    for rules in (WEB, TIMES, WORDS, AMOUNTS, SYMBOLS, NUMBERS):
        if rules not in (AMOUNTS, NUMBERS) or _DIGIT.search(text):
            text = apply(rules, text)
    return finish(text, "en")
