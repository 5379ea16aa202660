"""Numbers as English words: cardinals, ordinals, decimals, digits, years."""

from __future__ import annotations

_ONES = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen"
    " sixteen seventeen eighteen nineteen".split()
)
_TENS = "_ _ twenty thirty forty fifty sixty seventy eighty ninety".split()
_SCALES = (
    "_ thousand million billion trillion quadrillion quintillion sextillion septillion octillion"
    " nonillion decillion".split()
)
_ORDINALS = {
    "one": "first", "two": "second", "three": "third", "five": "fifth", "eight": "eighth",
    "nine": "ninth", "twelve": "twelfth",
}  # fmt: skip
# Longer numbers have no name that anybody would say.
MOST_DIGITS = 3 * len(_SCALES)


def cardinal(number: int | str) -> str:
    """A whole number in words, digit by digit if it is too long for a name.

    Example:
        >>> cardinal(-1204)
        'minus one thousand two hundred four'
    """
    digits = str(number).replace(",", "")
    if digits.startswith("-"):
        return f"minus {cardinal(digits[1:])}"
    if len(digits) > MOST_DIGITS:
        return spelled(digits)
    value = int(digits)
    if value == 0:
        return "zero"
    groups = []
    for scale in _SCALES:
        value, group = divmod(value, 1000)
        if group:
            groups.append(_below_thousand(group) + ("" if scale == "_" else f" {scale}"))
        if not value:
            break
    return " ".join(reversed(groups))


def _below_thousand(value: int) -> str:
    hundreds, rest = divmod(value, 100)
    words = [f"{_ONES[hundreds]} hundred"] if hundreds else []
    if rest:
        words.append(below_hundred(rest))
    return " ".join(words)


def below_hundred(value: int) -> str:
    """0 to 99 in words."""
    if value < 20:
        return _ONES[value]
    tens, ones = divmod(value, 10)
    return _TENS[tens] + (f"-{_ONES[ones]}" if ones else "")


def ordinal(number: int | str) -> str:
    """A place in a row: 21 is "twenty-first"."""
    words = cardinal(number)
    at = max(words.rfind(" "), words.rfind("-")) + 1
    last = words[at:]
    if last in _ORDINALS:
        return words[:at] + _ORDINALS[last]
    return words[:at] + (f"{last[:-1]}ieth" if last.endswith("y") else f"{last}th")


def decimal(number: str) -> str:
    """A number with a sign, commas and a decimal point: "-3.05" is "minus three point zero five".

    What begins with the point begins with the word: ".5" is "point five".
    """
    sign = "minus " if number.startswith("-") else ""
    whole, point, fraction = number.lstrip("+-").partition(".")
    words = cardinal(whole) if whole else ""
    if point and fraction:
        words = f"{words} point {spelled(fraction)}".strip()
    return sign + words


def spelled(digits: str) -> str:
    """Digit by digit; whatever is no digit is left out."""
    return " ".join(_ONES[int(digit)] for digit in digits if digit in "0123456789")


def year(number: int | str) -> str:
    """A year as it is said: 1905 is "nineteen oh five", 2005 "two thousand five"."""
    value = int(number)
    century, rest = divmod(value, 100)
    if not 1000 <= value <= 9999 or value % 1000 < 10:
        return cardinal(value)
    if rest == 0:
        return f"{below_hundred(century)} hundred"
    middle = "oh " if rest < 10 else ""
    return f"{below_hundred(century)} {middle}{below_hundred(rest)}"


def plural(words: str) -> str:
    """More than one of it: "ninety" is "nineties", "six" is "sixes"."""
    if words.endswith("y"):
        return words[:-1] + "ies"
    return words + ("es" if words.endswith(("x", "s", "ch", "sh")) else "s")
