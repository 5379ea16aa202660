"""Numbers as words: cardinals, ordinals, decimals, years, by the rules of Unicode's CLDR.

unicode-rbnf carries these rules and knows genders and cases; this module adds what is said digit by
digit. The names of the rules are CLDR's without "spellout-", such as "cardinal-feminine".
"""

from __future__ import annotations

import functools
from typing import Any

# Longer numbers are read digit by digit: nobody says their names, and the rules end there.
MOST_DIGITS = 15
_POINT = {"en": "point", "de": "Komma", "fr": "virgule", "es": "coma"}
_MINUS = {"en": "minus", "de": "minus", "fr": "moins", "es": "menos"}
# Languages that read a short fraction as a number: 3,25 is "trois virgule vingt-cinq".
_FRACTION_AS_NUMBER = ("fr", "es")


@functools.cache
def _rules(language: str) -> Any:
    from unicode_rbnf import RbnfEngine

    return RbnfEngine.for_language(language)


@functools.lru_cache(maxsize=10_000)
def say(number: int, rules: str, language: str = "en") -> str:
    """A whole number by one of CLDR's sets of rules.

    Example:
        >>> say(3, "ordinal-n", "de")
        'dritten'
    """
    name = f"spellout-{rules}"
    return str(_rules(language).format_number(number, ruleset_names=[name]).text_by_ruleset[name])


def minus_of(language: str) -> str:
    """The word for a minus sign."""
    return _MINUS[language]


def cardinal(number: int | str, language: str = "en", rules: str = "numbering") -> str:
    """A whole number in words, digit by digit if it is too long for a name.

    Example:
        >>> cardinal(-1204)
        'minus one thousand two hundred four'
    """
    digits = str(number).replace(",", "")
    if digits.startswith("-"):
        return f"{_MINUS[language]} {cardinal(digits[1:], language, rules)}"
    if len(digits) > MOST_DIGITS:
        return spelled(digits, language)
    return say(int(digits), rules, language)


def ordinal(number: int | str, language: str = "en", rules: str = "ordinal") -> str:
    """A place in a row: 21 is "twenty-first"."""
    words = cardinal(number, language, rules)
    # CLDR has "quatre-vingt-et-unième" for "quatre-vingt-unième".
    return words.replace("vingt-et-", "vingt-") if "quatre-vingt-et-" in words else words


def decimal(number: str, language: str = "en", rules: str = "numbering") -> str:
    """A number with a sign, commas and a decimal point: "-3.05" is "minus three point zero five".

    What begins with the point begins with the word: ".5" is "point five".
    """
    sign = f"{_MINUS[language]} " if number.startswith("-") else ""
    whole, _, fraction = number.lstrip("+-").partition(".")
    words = cardinal(whole, language, "numbering" if fraction else rules) if whole else ""
    if fraction:
        zeros = len(fraction) - len(fraction.lstrip("0"))
        if language in _FRACTION_AS_NUMBER and zeros < len(fraction) <= zeros + 3:
            said = f"{spelled('0' * zeros, language)} {cardinal(fraction[zeros:], language)}"
        else:
            said = spelled(fraction, language)
        words = f"{words} {_POINT[language]} {said.strip()}".strip()
    return sign + words


def spelled(digits: str, language: str = "en") -> str:
    """Digit by digit; whatever is no digit is left out."""
    return " ".join(say(int(d), "numbering", language) for d in digits if d in "0123456789")


def year(number: int | str, language: str = "en") -> str:
    """A year as it is said: 1905 is "nineteen oh five", 2005 "two thousand five"."""
    if language == "fr":  # CLDR's "dix-neuf-cent" is not said any more
        return cardinal(number, "fr")
    return cardinal(number, language, "numbering-year").replace("oh-", "oh ")


def plural(words: str) -> str:
    """More than one of it in English: "ninety" is "nineties", "six" is "sixes"."""
    if words.endswith("y"):
        return words[:-1] + "ies"
    return words + ("es" if words.endswith(("x", "s", "ch", "sh")) else "s")
