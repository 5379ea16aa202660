"""Values in the sentences of grammar.py: numbers, dates, times, prices, letters."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

_MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September",
    "October", "November", "December",
)  # fmt: skip
_COUNTS = "two three four five six seven eight nine ten eleven twelve fifteen twenty thirty".split()


def _pick(rng: np.random.Generator, low: int, high: int) -> int:
    """A whole number; each number of digits is equally likely."""
    return int(round(np.exp(rng.uniform(np.log(low), np.log(high)))))


def _number(rng: np.random.Generator) -> str:
    return str(_pick(rng, 2, 999))


def _large(rng: np.random.Generator) -> str:
    if rng.random() < 0.3:
        return f"{rng.uniform(1, 90):.1f} [million|million|billion]"
    return f"{_pick(rng, 1_000, 999_999):,}"


def _count(rng: np.random.Generator) -> str:
    return _COUNTS[int(rng.integers(len(_COUNTS)))]


def _ordinal(rng: np.random.Generator) -> str:
    return _nth(_pick(rng, 1, 60))


def _decimal(rng: np.random.Generator) -> str:
    return f"{rng.uniform(0.1, 60):.{int(rng.integers(1, 3))}f}"


def _percent(rng: np.random.Generator) -> str:
    number = str(int(rng.integers(1, 100))) if rng.random() < 0.8 else f"{rng.uniform(0.1, 20):.1f}"
    return f"{number}%" if rng.random() < 0.5 else f"{number} percent"


def _price(rng: np.random.Generator) -> str:
    sign = "$$$£€"[int(rng.integers(5))]
    if rng.random() < 0.5:
        return f"{sign}{_pick(rng, 1, 5_000):,}"
    return f"{sign}{_pick(rng, 1, 300)}.{int(rng.integers(1, 100)):02d}"


def _year(rng: np.random.Generator) -> str:
    return str(int(rng.integers(1700, 2031)))


def _date(rng: np.random.Generator) -> str:
    month, day = _MONTHS[int(rng.integers(12))], int(rng.integers(1, 29))
    year = _year(rng)
    forms = (f"{month} {day}", f"{month} {day}, {year}", f"the {_nth(day)} of {month}")
    return forms[int(rng.integers(len(forms)))]


def _nth(number: int) -> str:
    end = {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{'th' if 10 < number % 100 < 14 else end}"


def _time(rng: np.random.Generator) -> str:
    hour, minute = int(rng.integers(1, 13)), int(rng.integers(0, 12)) * 5
    if rng.random() < 0.2:
        minute = int(rng.integers(0, 60))
    forms = (
        f"{hour}:{minute:02d}" if minute else f"{hour} o'clock",
        f"{hour}:{minute:02d} {'a.m.' if rng.random() < 0.5 else 'p.m.'}",
        ("half past " if minute >= 30 else "quarter past ") + str(hour),
        ("noon", "midnight", "sunrise", "sunset", "dawn")[int(rng.integers(5))],
    )
    return forms[int(rng.choice(4, p=(0.4, 0.4, 0.14, 0.06)))]


def _duration(rng: np.random.Generator) -> str:
    unit = ("seconds", "minutes", "hours", "days", "weeks", "months", "years")[int(rng.integers(7))]
    return f"{_count(rng) if rng.random() < 0.5 else _pick(rng, 2, 60)} {unit}"


def _distance(rng: np.random.Generator) -> str:
    unit = ("km", "kilometres", "miles", "metres", "feet", "yards")[int(rng.integers(6))]
    return f"{_pick(rng, 2, 900)} {unit}"


def _weight(rng: np.random.Generator) -> str:
    unit = ("kg", "kilograms", "pounds", "tons", "grams", "ounces")[int(rng.integers(6))]
    return f"{_pick(rng, 2, 900)} {unit}"


def _score(rng: np.random.Generator) -> str:
    return f"{int(rng.integers(1, 40))} to {int(rng.integers(0, 40))}"


def _digits(rng: np.random.Generator) -> str:
    """Digits that are read one by one, in groups."""
    names = "zero one two three four five six seven eight nine".split()
    drawn = [names[int(i)] for i in rng.integers(0, 10, size=int(rng.integers(3, 8)))]
    return " ".join(drawn[:3]) + (", " + " ".join(drawn[3:]) if len(drawn) > 3 else "")


def _letters(rng: np.random.Generator) -> str:
    """Capital letters that are read one by one."""
    drawn = rng.integers(0, 26, size=int(rng.integers(2, 6)))
    return ", ".join("ABCDEFGHIJKLMNOPQRSTUVWXYZ"[int(i)] for i in drawn)


VALUES: dict[str, Callable[[np.random.Generator], str]] = {
    "count": _count, "date": _date, "decimal": _decimal, "digits": _digits, "distance": _distance,
    "duration": _duration, "large": _large, "letters": _letters, "number": _number,
    "ordinal": _ordinal, "percent": _percent, "price": _price, "score": _score, "time": _time,
    "weight": _weight, "year": _year,
}  # fmt: skip
