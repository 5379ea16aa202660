"""Dates, times of day, decades and years as English words."""

from __future__ import annotations

import re

from .numbers import cardinal, ordinal, plural, year
from .rules import ALONE, Rule, final_stop

_MONTHS = (
    "January February March April May June July August September October November December".split()
)
_SHORT = {name[:3]: name for name in _MONTHS} | {"Sept": "September"}
_MONTH = rf"({'|'.join(_MONTHS)}|(?:{'|'.join(sorted(_SHORT, key=len, reverse=True))})\b\.?)"
_DAY = r"([0-3]?[0-9])(?:st|nd|rd|th)?"
_YEAR = r"(1[0-9]{3}|20[0-9]{2})"
_WEEKDAYS = {
    "Mon": "Monday", "Tue": "Tuesday", "Tues": "Tuesday", "Wed": "Wednesday", "Thu": "Thursday",
    "Thur": "Thursday", "Thurs": "Thursday", "Fri": "Friday", "Sat": "Saturday", "Sun": "Sunday",
}  # fmt: skip
_DAYS = "|".join(sorted(_WEEKDAYS, key=len, reverse=True))
# A number of four digits after one of these is a year.
_BEFORE_YEAR = (
    "in since by between from until till to of year years circa before after during early late mid"
    " around and about spring summer autumn fall winter christmas ad".split()
)


def _month(name: str) -> str:
    return name if name in _MONTHS else _SHORT[name.rstrip(".")]


def _date(match: re.Match[str], month: int | str, day: str, years: str | None) -> str:
    """A date in words, or what was written if there is no such day."""
    if isinstance(month, int):
        if not 1 <= month <= 12:
            return match.group()
        month = _MONTHS[month - 1]
    if not 1 <= int(day) <= 31:
        return match.group()
    return f"{month} {ordinal(int(day))}" + (f", {year(years)}" if years else "")


def _iso(match: re.Match[str]) -> str:
    years, _, month, day, hour = match.groups()
    return _date(match, int(month), day, years) + (", " if hour else "")


def _slashed(match: re.Match[str]) -> str:
    first, second, years = match.groups()
    if len(years) == 2:
        years = f"20{years}" if int(years) < 50 else f"19{years}"
    # American order unless only the other one is a date.
    month, day = (second, first) if int(first) > 12 else (first, second)
    return _date(match, int(month), day, years)


def _month_day(match: re.Match[str]) -> str:
    month, day, last, years = match.groups()
    words = _date(match, _month(month), day, None)
    if last and words != match.group():
        words += f" to {ordinal(int(last))}"
    return words + (f", {year(years)}" if years else "")


def _day_month(match: re.Match[str]) -> str:
    day, month, years = match.groups()
    if not 1 <= int(day) <= 31:
        return match.group()
    words = f"the {ordinal(int(day))} of {_month(month)}"
    return words + (f", {year(years)}" if years else "")


_DECADE = r"(?<![\w.,])(?<![0-9]-)'?(?:[1-9]0|[12][0-9]{2}0)'?s\b"


def _decade(match: re.Match[str]) -> str:
    digits = re.sub("[^0-9]", "", match.group())
    if len(digits) == 2:
        return plural(cardinal(int(digits)))
    return plural(year(digits))


def _clock(match: re.Match[str]) -> str:
    hour, minute, second, half = match.group("hour", "minute", "second", "half")
    words = [cardinal(int(hour))]
    if minute and int(minute):
        words.append(f"oh {cardinal(minute)}" if minute.startswith("0") else cardinal(minute))
    elif minute and not half:
        words.append("o'clock" if 1 <= int(hour) <= 12 and not second else "hundred")
    if second:
        words.append(f"and {cardinal(second)} second{'' if int(second) == 1 else 's'}")
    if not half:
        return " ".join(words)
    dotted = match.group("dot") and match.group("stop")
    stop = final_stop(match) if dotted else match.group("stop") or ""
    return " ".join([*words, half.upper(), "M"]) + stop


def _years(match: re.Match[str]) -> str:
    first, last = match.groups()
    if len(last) == 2:
        later = cardinal(int(last)) if int(last) > 9 else f"oh {cardinal(int(last))}"
        return f"{year(first)} to {later}"
    return f"{year(first)} to {year(last)}"


def _list_of_years(match: re.Match[str]) -> str:
    return re.sub(_YEAR, lambda m: year(m[0]), match[0])


def _half_of_day(named: str) -> str:
    return rf"(?P<half>[ap])(?P<dot>\.?)\s?m\b(?P<stop>\.?){named}"


TIMES: tuple[Rule, ...] = (
    (
        re.compile(rf"\b{_YEAR}([-/])([01]?[0-9])\2([0-3]?[0-9])(?![\w-]|/[0-9])()"),
        _iso,
    ),
    (re.compile(rf"\b{_YEAR}(-)([01][0-9])-([0-3][0-9])(T)(?=[0-9]{{2}}:)"), _iso),
    (re.compile(r"(?<![\w/.])([0-9]{1,2})/([0-9]{1,2})/([0-9]{4}|[0-9]{2})(?![\w/])"), _slashed),
    (
        re.compile(r"(?<![\w.])([0-9]{1,2})\.([0-9]{1,2})\.((?:19|20)[0-9]{2})(?!\w|\.[0-9])"),
        lambda m: _date(m, int(m[2]), m[1], m[3]),
    ),
    (
        re.compile(rf"\b{_MONTH} {_DAY}(?:\s?[-–]\s?{_DAY})?(?:,? {_YEAR})?(?![\w:]|[.,/-][0-9])"),
        _month_day,
    ),
    (
        re.compile(rf"{ALONE}(?:the )?{_DAY} (?:of )?{_MONTH}(?:,? {_YEAR})?(?![\w]|[.,/-][0-9])"),
        _day_month,
    ),
    (
        re.compile(rf"\b{_MONTH},? {_YEAR}(?![\w-]|[.,/][0-9])"),
        lambda m: f"{_month(m[1])} {year(m[2])}",
    ),
    (
        re.compile(rf"({_DECADE})\s?[-–]\s?(?={_DECADE})"),
        lambda m: f"{_decade(m)} to ",
    ),
    (re.compile(_DECADE), _decade),
    (
        re.compile(rf"\b(c|ca|[Cc]irca)\.?\s?{_YEAR}(?:\s?[-–]\s?{_YEAR})?(?![\w%°]|[.,:/][0-9])"),
        lambda m: (
            f"{'C' if m[1][0] == 'C' else 'c'}irca {year(m[2])}"
            + (f" to {year(m[3])}" if m[3] else "")
        ),
    ),
    (  # 9am-5pm, 9:30-11:00, Mon-Fri
        re.compile(
            r"((?<![\w:.,])[0-9]{1,2}(?::[0-5][0-9])? ?(?:[ap]\.?m\.?)?)\s?[-–]\s?"
            r"(?=[0-9]{1,2}(?::[0-5][0-9]| ?[ap]\.?m\b))",
            re.IGNORECASE,
        ),
        lambda m: f"{m[1]} to ",
    ),
    (
        re.compile(rf"\b({_DAYS})\.?\s?[-–]\s?({_DAYS})\b\.?"),
        lambda m: f"{_WEEKDAYS[m[1]]} to {_WEEKDAYS[m[2]]}",
    ),
    (
        re.compile(rf"\b{_MONTH}\s?[-–]\s?{_MONTH}(?!\w)"),
        lambda m: f"{_month(m[1])} to {_month(m[2])}",
    ),
    (
        re.compile(
            r"(?<![\w:.,])(?P<hour>[01]?[0-9]|2[0-4]):(?P<minute>[0-5][0-9])"
            rf"(?::(?P<second>[0-5][0-9])(?:\.[0-9]+)?)?(?:\s?{_half_of_day('')})?Z?(?![\w:])",
            re.IGNORECASE,
        ),
        _clock,
    ),
    (
        re.compile(
            rf"(?<![\w:.,])(?P<hour>1[0-2]|0?[1-9])(?P<minute>)(?P<second>)\s?{_half_of_day('')}(?!\w)",
            re.IGNORECASE,
        ),
        _clock,
    ),
    (
        re.compile(rf"\b({'|'.join(sorted(_SHORT, key=len, reverse=True))})\.(?=\s|,|$)"),
        lambda m: _SHORT[m[1]] + final_stop(m),
    ),
    (
        re.compile(rf"\b({_DAYS})\.(?=\s|,|$)"),
        lambda m: _WEEKDAYS[m[1]] + final_stop(m),
    ),
    (re.compile(rf"{ALONE}{_YEAR}\s?[-–]\s?((?:1[0-9]|20)?[0-9]{{2}})(?![\w-]|[.,][0-9])"), _years),
    (  # 1469, 1470 and 1472: several of them are hardly amounts
        re.compile(
            rf"(?<![\w.,$£€¥₹+#-]){_YEAR}(?:(?:,|,? (?:and|or|&)) {_YEAR})+"
            r"(?![\w%°]|[.,:/-][0-9]|\s?[%°€£])"
        ),
        _list_of_years,
    ),
    (
        re.compile(rf"(?<![\w.,$£€¥-]){_YEAR}(?=\s?(?:BCE|CE|BC|AD|B\.C\.|A\.D\.))"),
        lambda m: year(m[1]),
    ),
    (
        re.compile(
            rf"\b({'|'.join(_BEFORE_YEAR)})(,?) {_YEAR}(?![\w%°]|[.,:/-][0-9]| ?[%°])",
            re.IGNORECASE,
        ),
        lambda m: f"{m[1]}{m[2]} {year(m[3])}",
    ),
    # Without any hint: the last two centuries.
    (
        re.compile(
            r"(?<![\w.,$£€¥₹+#])(?<![0-9]-)(?<!\W-)(?<!^-)((?:19|20)[0-9]{2})(?![\w%°]|[.,:/-][0-9]|\s?[%°€£])"
        ),
        lambda m: year(m[1]),
    ),
)
