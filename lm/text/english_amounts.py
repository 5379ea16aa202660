"""Money, measures, fractions, ranges, telephone numbers and all other numbers as English words."""

from __future__ import annotations

import re

from .numbers import cardinal, decimal, ordinal, spelled
from .rules import ALONE, NUMBER, Rule

# ------------------------------------------------------------------ money

# one, several, one of the hundredths, several of them
_MONEY = {
    "$": ("dollar", "dollars", "cent", "cents"),
    "£": ("pound", "pounds", "penny", "pence"),
    "€": ("euro", "euros", "cent", "cents"),
    "₹": ("rupee", "rupees", "paisa", "paise"),
    "¥": ("yen", "yen", "", ""),
    "₽": ("ruble", "rubles", "kopeck", "kopecks"),
    "₩": ("won", "won", "", ""),
    "₪": ("shekel", "shekels", "", ""),
    "₿": ("bitcoin", "bitcoins", "", ""),
    "¢": ("cent", "cents", "", ""),
    "R$": ("real", "reais", "centavo", "centavos"),
    "CHF": ("Swiss franc", "Swiss francs", "centime", "centimes"),
    "CNY": ("yuan", "yuan", "", ""),
    "RMB": ("yuan", "yuan", "", ""),
}
_CODES = {"USD": "$", "EUR": "€", "GBP": "£", "JPY": "¥", "INR": "₹"}
_COUNTRIES = {
    "US": "US", "CA": "Canadian", "C": "Canadian", "AU": "Australian", "A": "Australian",
    "NZ": "New Zealand", "HK": "Hong Kong", "S": "Singapore",
}  # fmt: skip
_MAGNITUDES = {
    "k": "thousand", "m": "million", "mn": "million", "mm": "million", "b": "billion",
    "bn": "billion", "t": "trillion", "tn": "trillion",
}  # fmt: skip
_MAGNITUDE = r"(?:\s?(thousand|million|billion|trillion|bn|mn|tn|[kKmMbBT])\b)?"
_CODE = "|".join([*_CODES, "CHF", "CNY", "RMB"])
_SYMBOL = r"(?:\bR\$|[$£€₹¥₽₩₪₿])"


def _amount(number: str, magnitude: str | None) -> str:
    large = f" {_MAGNITUDES.get(magnitude.lower(), magnitude)}" if magnitude else ""
    return decimal(number) + large


def _describes(match: re.Match[str]) -> bool:
    """Whether an amount describes a noun: "a $5 bill", "a 10 km run", "a 10-km run"."""
    noun = re.match(
        r"-a-| (?!(?:of|and|or|to|in|on|at|for|from|per|is|was|a|an|the)\b)[a-z]", _after(match)
    )
    return bool(noun) and bool(re.search(r"\b[Aa]n? -?$", match.string[: match.start()]))


def _after(match: re.Match[str]) -> str:
    return match.string[match.end() : match.end() + 20]


def _money(
    match: re.Match[str],
    sign: str | None,
    number: str,
    magnitude: str | None,
    unit: str,
    land: str = "",
) -> str:
    one, several, cent, cents = _MONEY[_CODES.get(unit, unit)]
    minus = "minus " if sign else ""
    if land:
        one, several = f"{land} {one}", f"{land} {several}"
    if _describes(match) and (magnitude or "." not in number):
        several = one
    if magnitude:
        return f"{minus}{_amount(number, magnitude)} {several}"
    whole, point, fraction = number.replace(",", "").partition(".")
    if point and (len(fraction) != 2 or not cent):
        return f"{minus}{decimal(number)} {several}"
    parts = []
    if int(whole or 0) or not int(fraction or 0):
        parts.append(f"{cardinal(whole or '0')} {one if int(whole or 0) == 1 else several}")
    if int(fraction or 0):
        parts.append(f"{cardinal(int(fraction))} {cent if int(fraction) == 1 else cents}")
    return minus + " and ".join(parts)


# Numbers as they are written elsewhere, where they cannot mean anything else.
_FOREIGN: tuple[Rule, ...] = (
    # 1.234,56
    (
        re.compile(r"(?<![\w.,])([0-9]{1,3}(?:\.[0-9]{3})+),([0-9]{1,2})(?![\w,])"),
        lambda m: f"{m[1].replace('.', '')}.{m[2]}",
    ),
    # €5,50 and 5,50 €
    (
        re.compile(rf"({_SYMBOL}\s?[0-9]+),([0-9]{{2}})(?![\w,])"),
        lambda m: f"{m[1]}.{m[2]}",
    ),
    (
        re.compile(rf"(?<![\w.,])([0-9]+),([0-9]{{2}})(?=\s?(?:[€£]|R\$|(?:{_CODE})\b))"),
        lambda m: f"{m[1]}.{m[2]}",
    ),
    # 1,50,000 as in India
    (
        re.compile(r"(?<![\w.,])[0-9]{1,2}(?:,[0-9]{2})+,[0-9]{3}(?![\w,])"),
        lambda m: m[0].replace(",", ""),
    ),
    (
        re.compile(r"(?<!\w)0[xX]([0-9A-Fa-f]+)(?!\w)"),
        lambda m: f"zero x {' '.join(spelled(c) if c.isdigit() else c.upper() for c in m[1])}",
    ),
)
_AMOUNTS_OF_MONEY: tuple[Rule, ...] = (
    # $5-10 and $5M-$10M: the sign belongs to both, and is said once.
    (
        re.compile(rf"({_SYMBOL})({NUMBER}){_MAGNITUDE}\s?[-–]\s?\1?({NUMBER})(?![0-9-])"),
        lambda m: f"{_amount(m[2], m[3])} to {m[1]}{m[4]}",
    ),
    (
        re.compile(
            rf"(-)?(?:\b({'|'.join(_COUNTRIES)}))?({_SYMBOL})\s?(-?)({NUMBER}){_MAGNITUDE}(?![0-9])"
        ),
        lambda m: _money(m, m[1] or m[4], m[5], m[6], m[3], _COUNTRIES.get(m[2] or "", "")),
    ),
    (
        re.compile(rf"{ALONE}(-)?({NUMBER}){_MAGNITUDE}\s?(?:([€£¥₹¢]|R\$)|({_CODE})\b)"),
        lambda m: _money(m, m[1], m[2], m[3], m[4] or m[5]),
    ),
    (
        re.compile(rf"\b({_CODE})\s?({NUMBER}){_MAGNITUDE}"),
        lambda m: _money(m, None, m[2], m[3], m[1]),
    ),
)


# ------------------------------------------------------------------ measures

_UNITS = {
    "km": "kilometer", "cm": "centimeter", "mm": "millimeter", "µm": "micrometer",
    "nm": "nanometer", "m": "meter", "mi": "mile", "yd": "yard", "ft": "foot",
    "kg": "kilogram", "mg": "milligram", "µg": "microgram", "g": "gram", "lb": "pound",
    "lbs": "pound", "oz": "ounce", "ml": "milliliter", "mL": "milliliter", "dl": "deciliter",
    "dL": "deciliter",
    "l": "liter", "L": "liter", "gal": "gallon", "ha": "hectare", "s": "second", "sec": "second",
    "secs": "second", "ms": "millisecond", "µs": "microsecond", "ns": "nanosecond",
    "min": "minute", "mins": "minute", "h": "hour", "hr": "hour", "hrs": "hour", "yr": "year",
    "yrs": "year", "mph": "mile per hour", "MPH": "mile per hour", "kph": "kilometer per hour",
    "kmh": "kilometer per hour", "mpg": "mile per gallon", "rpm": "revolution per minute",
    "fps": "frame per second", "bpm": "beat per minute", "kB": "kilobyte", "KB": "kilobyte",
    "MB": "megabyte", "GB": "gigabyte", "TB": "terabyte", "PB": "petabyte", "KiB": "kibibyte",
    "MiB": "mebibyte", "GiB": "gibibyte", "bps": "bit per second",
    "kbps": "kilobit per second", "Mbps": "megabit per second", "Gbps": "gigabit per second",
    "V": "volt", "mV": "millivolt", "kV": "kilovolt", "W": "watt", "mW": "milliwatt",
    "kW": "kilowatt", "MW": "megawatt", "GW": "gigawatt", "kWh": "kilowatt hour",
    "MWh": "megawatt hour", "Wh": "watt hour", "mA": "milliamp", "mAh": "milliamp hour",
    "Ω": "ohm", "kΩ": "kiloohm", "J": "joule", "kJ": "kilojoule", "kcal": "kilocalorie",
    "cal": "calorie", "N": "newton", "Pa": "pascal", "kPa": "kilopascal", "hPa": "hectopascal",
    "psi": "pound per square inch", "Hz": "hertz", "kHz": "kilohertz", "MHz": "megahertz",
    "GHz": "gigahertz", "dB": "decibel", "px": "pixel", "dpi": "dot per inch",
    "ppm": "part per million", "hp": "horsepower", "cc": "cubic centimeter",
    "mol": "mole", "Mb": "megabit", "Gb": "gigabit", "tbsp": "tablespoon", "tsp": "teaspoon",
    "°C": "degree Celsius", "°F": "degree Fahrenheit", "°": "degree", "℃": "degree Celsius",
    "℉": "degree Fahrenheit", "%": "percent", "‰": "per mille",
}  # fmt: skip
_UNITS |= {unit.replace("µ", "μ"): name for unit, name in _UNITS.items() if "µ" in unit}  # Greek
_UNCHANGED = ("hertz", "horsepower", "percent", "per mille")
_UNIT = "|".join(re.escape(unit) for unit in sorted(_UNITS, key=len, reverse=True))


def _plural(unit: str) -> str:
    if unit.endswith(_UNCHANGED):
        return unit
    first, *rest = unit.split(" ")
    if (unit.endswith(" hour") and " per " not in unit) or unit.startswith("cubic "):
        return unit + "s"
    return " ".join(["feet" if first == "foot" else f"{first}s", *rest])


def _measure(match: re.Match[str]) -> str:
    sign, number, _, square, unit, power, per, per_power = match.groups()
    one = (number in ("1", "1.0") and not sign) or _describes(match) or match.group("tie") == "-"
    name = _UNITS[unit] if one else _plural(_UNITS[unit])
    kind = {"²": "square ", "2": "square ", "³": "cubic ", "3": "cubic "}.get(
        (power or "")[-1:], ""
    )
    if square:
        kind = "square "
    words = f"{'minus ' if sign else ''}{decimal(number)} {kind}{name}"
    if per_power and per in ("m", "cm", "km"):
        words += f" per square {_UNITS[per]}"
    elif per:
        words += f" per {_UNITS[per]}" + (" squared" if per_power else "")
    return words


def _inches(match: re.Match[str]) -> str:
    if match.group()[-1] == '"' and match.string[: match.start()].count('"') % 2:
        return match.group()
    one = match[1] == "1" or _describes(match)
    return f"{decimal(match[1])} inch{'' if one else 'es'}"


_MEASURES: tuple[Rule, ...] = (
    (
        re.compile(
            r"\b(dollars?|euros?|pounds?|cents?|pence)/(kg|g|lb|oz|gal|l|L|m|ft|km|mi|h|hr|yr)\b"
        ),
        lambda m: f"{m[1]} per {_UNITS[m[2]]}",
    ),
    (
        re.compile(rf"{ALONE}([0-9]+)'\s?([0-9]{{1,2}})\"(?!\w)"),
        lambda m: f"{cardinal(m[1])} foot {cardinal(m[2])}",
    ),
    (
        re.compile(rf"{ALONE}([0-9]+) ?ft\.? ({NUMBER}) ?in\b\.?"),
        lambda m: (
            f"{cardinal(m[1])} {'foot' if m[1] == '1' else 'feet'} {decimal(m[2])}"
            f" inch{'es' * (m[2] != '1')}"
        ),
    ),
    (
        re.compile(
            rf"{ALONE}(-)?({NUMBER})(?P<tie>\s|-)?(sq\.?\s)?({_UNIT})(\^?[23²³])?"
            r"(?:/(s|h|hr|min|kg|m|km|l|L|dL|g|lb|ml|cm)(\^?2|²)?)?(?![\w'])(?:\.(?=\s+[a-z]))?"
        ),
        _measure,
    ),
    # An inch, where no quotation ends.
    (
        re.compile(rf"{ALONE}({NUMBER})(?: in\.(?= [a-z])|\"(?=[\s,.;)]|$))"),
        _inches,
    ),
    (
        re.compile(rf"{ALONE}({NUMBER})(?:\s?x\s?|×)(?={NUMBER})(?!10\^)"),
        lambda m: f"{decimal(m[1])} by ",
    ),
    (re.compile(rf"{ALONE}({NUMBER})[x×](?!\w)"), lambda m: f"{decimal(m[1])} times"),
    (
        re.compile(rf"{ALONE}(-)?(?![248]K)({NUMBER})\s?(k|K|M|bn)(?![\w-])"),
        lambda m: f"{'minus ' if m[1] else ''}{decimal(m[2])} {_MAGNITUDES[m[3].lower()]}",
    ),
)

# ------------------------------------------------------------------ fractions, ranges, telephones

_PARTS = {2: ("half", "halves"), 4: ("quarter", "quarters")}
_SAID = {
    "24/7": "twenty-four seven",
    "9/11": "nine eleven",
    "50-50": "fifty fifty",
    "50/50": "fifty fifty",
}


def _fraction(match: re.Match[str]) -> str:
    whole, top, bottom = match.groups()
    over, under = int(top), int(bottom)
    if f"{top}/{bottom}" in _SAID and not whole:
        return _SAID[f"{top}/{bottom}"]
    if under in (10, 100) and not whole:
        return f"{cardinal(top)} out of {cardinal(bottom)}"
    if not 2 <= under <= 99 or over == 0:
        return f"{cardinal(whole) + ' ' if whole else ''}{cardinal(top)} over {cardinal(bottom)}"
    one, several = _PARTS.get(under, (ordinal(under), f"{ordinal(under)}s"))
    if whole:
        part = f"{'a' if over == 1 else cardinal(top)} {one if over == 1 else several}"
        return f"{cardinal(whole)} and {part}"
    return f"{cardinal(top)} {one if over == 1 else several}"


def _telephone(match: re.Match[str]) -> str:
    groups = re.findall("[0-9]+", match.group())
    plus = "plus " if match.group().startswith("+") else ""
    return plus + ", ".join(spelled(group) for group in groups)


def _range(match: re.Match[str]) -> str:
    first, last = match.groups()
    if f"{first}-{last}" in _SAID:
        return _SAID[f"{first}-{last}"]
    return f"{decimal(first)} to {last}"


_GROUPS: tuple[Rule, ...] = (
    (
        re.compile(
            r"(?<=\b(?:[Cc]all|[Dd]ial) )(?:911|999|112|411|[0-9]{3} [0-9]{4})(?![\w-]|[.,][0-9])"
        ),
        _telephone,
    ),
    # 10 000 000 and 1.234.567
    (
        re.compile(
            r"(?<![\w.,-])[0-9]{1,3}(?:(?: [0-9]{3})* 000|(?:\.[0-9]{3}){2,})(?![\w.,]? ?[0-9])"
        ),
        lambda m: cardinal(re.sub("[ .]", "", m.group())),
    ),
    (re.compile(r"(?<![\w.,-])0[0-9]{2,4}(?: [0-9]{3,4}){1,3}(?![\w-])"), _telephone),
    (
        re.compile(r"(?<![\w.,-])\+[0-9]{1,3}(?:[ .-]?\(?[0-9]{1,4}\)?){2,6}(?![\w-])"),
        _telephone,
    ),
    (
        re.compile(
            r"(?<![\w.,-])(?:1[ .-])?(?:\([0-9]{3}\)\s?|[0-9]{3}[ .-])"
            r"[0-9]{3}[ .-][0-9]{4}(?![\w-])"
        ),
        _telephone,
    ),
    (re.compile(r"(?<![\w.,-])[0-9]{3}-[0-9]{4}(?![\w-])"), _telephone),
    # Cards, ISBN, and the postal code after a state.
    (re.compile(r"(?<![\w.,-])[0-9]{4}(?:([ -])[0-9]{4})(?:\1[0-9]{4}){2}(?![\w-])"), _telephone),
    (
        re.compile(r"(?<=\bISBN)((?:-1[03])?:? ?)((?:[0-9][- ]?){9,12}[0-9X])(?!\w)"),
        lambda m: (
            f" {', '.join(map(spelled, re.findall('[0-9]+', m[2])))}{' X' * m[2].endswith('X')}"
        ),
    ),
    (re.compile(r"(?<=, [A-Z]{2} )[0-9]{5}(?:-[0-9]{4})?(?![\w,.-][0-9])"), _telephone),
    (re.compile(r"(?<![\w.,-])[0-9]+(?:-[0-9]+){2,}(?![\w-])"), _telephone),
    (
        re.compile(r"(?<![\w/.,])([0-9]{1,2})/(2|4|8|16)(?= time\b)"),
        lambda m: f"{cardinal(m[1])} {cardinal(m[2])}",
    ),
    (re.compile(r"(?<![\w/.,])(?:([0-9]+)[ -])?([0-9]+)/([0-9]+)(?![\w/]|[.,][0-9])"), _fraction),
    (
        re.compile(rf"{ALONE}([0-9]+)(st|nd|rd|th)\s?[-–]\s?(?=[0-9]+(?:st|nd|rd|th)\b)"),
        lambda m: f"{ordinal(m[1])} to ",
    ),
    (re.compile(rf"{ALONE}({NUMBER})\s?%?\s?[-–]\s?({NUMBER})(?![0-9]|-[0-9])"), _range),
    (
        re.compile(rf"{ALONE}({NUMBER}):({NUMBER})(?![\w:])"),
        lambda m: f"{decimal(m[1])} to {decimal(m[2])}",
    ),
)

AMOUNTS: tuple[Rule, ...] = _FOREIGN + _AMOUNTS_OF_MONEY + _GROUPS + _MEASURES

# ------------------------------------------------------------------ all other numbers


def _power(match: re.Match[str]) -> str:
    sign, power = match.groups()
    return f" to the power of {'minus ' if sign else ''}{cardinal(power)}"


def _scientific(match: re.Match[str]) -> str:
    number, sign, power = match.groups()
    minus = "minus " if sign == "-" else ""
    return f"{decimal(number)} times ten to the power of {minus}{cardinal(int(power))}"


def _version(match: re.Match[str]) -> str:
    parts = match.group().split(".")
    point = " dot " if len(parts) == 4 else " point "
    spoken = point.join(cardinal(part) for part in parts)
    before = match.string[: match.start()][-1:]
    return f" {spoken}" if before.isalnum() else spoken


def _plain(match: re.Match[str]) -> str:
    number = match.group()
    long = len(number.split(".")[0]) > 10 and "," not in number
    if long or re.match(r"0[0-9]", number):
        whole, _, fraction = number.partition(".")
        return spelled(whole) + (f" point {spelled(fraction)}" if fraction else "")
    return decimal(number)


NUMBERS: tuple[Rule, ...] = (
    (re.compile(r"(?<=[0-9]):(?=\w)"), lambda m: " colon "),
    (re.compile(r"(?<![\w.,-])([0-9]+(?:,[0-9]{3})*)(?i:st|nd|rd|th)\b"), lambda m: ordinal(m[1])),
    (
        re.compile(r"(?<=[A-Za-z)])\^([23])(?!\w)"),
        lambda m: " squared" if m[1] == "2" else " cubed",
    ),
    (re.compile(r"(?<=[0-9])\^\(?(-)?([0-9]+)\)?"), _power),
    (re.compile(rf"{ALONE}({NUMBER})[eE]([-+]?)([0-9]{{1,3}})(?!\w)"), _scientific),
    (re.compile(r"(?<![0-9.])[0-9]{1,6}(?:\.[0-9]{1,6}){2,}(?!\w|\.[0-9])"), _version),
    (re.compile(rf"(?<![\w.)])-(?={NUMBER})"), lambda m: "minus "),
    # Letters beside digits (MP3, F-16, 3D, COVID-19) are said beside the number.
    (re.compile(r"(?<=[^\W\d_])-?(?=[0-9])"), lambda m: " "),
    (re.compile(r"(?<=[0-9])(?=[^\W\d_])"), lambda m: " "),
    (re.compile(NUMBER), _plain),
)
