"""German, French and Spanish as they are spoken.

The rules are one set; what differs is in `european_words`. Numbers and their genders and cases are
CLDR's (`numbers`). The gender of a noun is guessed by its ending, and German cases by the words
before, so "1 Band" and the like may get a wrong ending.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable

from .english_words import address_rules
from .european_words import FRENCH, GERMAN, SPANISH, Language
from .numbers import cardinal, decimal, minus_of, ordinal, spelled, year
from .rules import ROMAN, Rule, apply, final_stop, finish, fold, roman_value

# 12  1.234.567  1 234  3,14
_NUMBER = r"(?:[0-9]{1,3}(?:[. ][0-9]{3})+(?![0-9])|[0-9]+)(?:,[0-9]+)?"
_ALONE = r"(?<![\w.,])"
_BIG = "Millionen|Million|Milliarden|Milliarde|millions?|milliards?|millones|millón"
_AMOUNT = f"(?P<number>{_NUMBER})(?: ?(?P<big>{_BIG}|M|Md)(?![a-z]))?"
_DATIVE = "in an auf aus bei mit nach von zu seit vor unter über neben zwischen hinter".split()
_INFLECTING = "am vom zum zur beim im dem den des der ab seit bis ins ans einem einen".split()
_NEUTER = ("Kapitel", "Jahrhundert", "Mal", "Jahr")
_PLACED = "Kapitel|Jahrhundert|Auflage|Geburtstag|Mal|Stock|Platz|Tag|Jahr|Bezirk|Klasse|Teil"
_FRACTIONS = {
    "de": {2: ("halb", "halbe"), 3: ("Drittel", "Drittel"), 4: ("Viertel", "Viertel")},
    "fr": {2: ("demi", "demis"), 3: ("tiers", "tiers"), 4: ("quart", "quarts")},
    "es": {2: ("medio", "medios"), 3: ("tercio", "tercios"), 4: ("cuarto", "cuartos")},
}
_SHORT = {
    "de": {"M": "Millionen", "Md": "Milliarden"},
    "fr": {"M": "millions", "Md": "milliards"},
    "es": {"M": "millones", "Md": "mil millones"},
}
_OVER = {"de": "durch", "fr": "sur", "es": "entre"}


def normalizer_of(language: Language) -> Callable[[str], str]:
    """The normaliser of a language, to be registered."""

    def normalize_european(text: str) -> str:
        text = apply(_rules(language.code), fold(text))
        return finish(text, language.code)

    return normalize_european


class _Reader:
    """Reads matches of the rules in one language."""

    def __init__(self, language: Language) -> None:
        self.language, self.code = language, language.code
        self.months = language.months.split()
        self.feminine = re.compile(rf"(?:{language.feminine})$")
        self.masculine = re.compile(rf"(?:{language.masculine})$")

    def number(self, written: str, noun: str = "") -> str:
        """A number as it is written, in the gender of the noun that it counts."""
        plain = re.sub(r"[. ]", "", written).replace(",", ".")
        if re.match(r"0[0-9]", plain):
            return spelled(plain, self.code)
        if not noun:
            return decimal(plain, self.code)
        feminine = self.feminine.match(noun) and not self.masculine.match(noun)
        return decimal(plain, self.code, f"cardinal-{'feminine' if feminine else 'masculine'}")

    def counted(self, match: re.Match[str]) -> str:
        return f"{self.number(match[1], match[2])} {match[2]}"

    def measure(self, match: re.Match[str]) -> str:
        written, unit, power, per = match.groups()
        name = self.language.units[unit]
        several = self.language.powered(name, power) if power else self.language.plural(name)
        one = written in ("1", "1,0") and not power
        return f"{self.number(written, name)} {name if one else several}{self.per(per)}"

    def per(self, unit: str | None) -> str:
        return f" {self.language.per} {self.language.units[unit]}" if unit else ""

    def money(self, match: re.Match[str]) -> str:
        found = match.groupdict()
        one, several, cents = self.language.money[found["sign"]]
        whole, _, fraction = found["number"].partition(",")
        if found["big"]:
            of = {"fr": "d'" if several[0] in "aeiou" else "de ", "es": "de "}.get(self.code, "")
            big = _SHORT[self.code].get(found["big"], found["big"])
            return f"{self.number(found['number'], 'm')} {big} {of}{several}"
        if len(fraction) not in (0, 2) or (fraction and not cents):
            return f"{self.number(found['number'])} {several}{self.per(found['per'])}"
        words = f"{self.number(whole, one)} {one if whole == '1' else several}"
        if int(fraction or 0):
            words += f" {cents.format(cardinal(fraction, self.code))}"
        return words + self.per(found["per"])

    def date(self, match: re.Match[str]) -> str:
        day, month, years = int(match[1]), int(match[2]), match[3] or ""
        if not (1 <= day <= 31 and 1 <= month <= 12):
            return match.group()
        if len(years) == 2:
            years = f"20{years}" if int(years) < 50 else f"19{years}"
        name = self.months[month - 1]
        if self.code == "de":
            return f"{self.place(match)} {name}" + (f" {year(years, 'de')}" if years else "")
        first = ordinal(1, "fr", "ordinal-masculine") if day == 1 and self.code == "fr" else ""
        of = " de " if self.code == "es" else " "
        said = [first or cardinal(day, self.code), name]
        return of.join([*said, year(years, self.code)] if years else said)

    def fraction(self, match: re.Match[str]) -> str:
        top, bottom = int(match[1]), int(match[2])
        unit = self.language.units.get(match[3] or "", "")
        unit = f" {unit if top == 1 else self.language.plural(unit)}" if unit else ""
        if names := _FRACTIONS[self.code].get(bottom):
            return f"{cardinal(top, self.code, 'cardinal-masculine')} {names[top != 1]}{unit}"
        over = f"{_OVER[self.code]} {cardinal(bottom, self.code)}"
        return f"{cardinal(top, self.code)} {over}{unit}"

    def telephone(self, match: re.Match[str]) -> str:
        groups = re.findall("[0-9]+", match.group())
        said = ", ".join(spelled(group, self.code) for group in groups)
        return {"+": f"{self.language.signs['+']} ", " ": " "}.get(match.group()[0], "") + said

    # ------------------------------------------------------------------ German

    def place(self, match: re.Match[str]) -> str:
        """A German ordinal, in the case that the words before it ask for."""
        before = match.string[: match.start()].split()[-2:]
        last, other = ([*(word.lower() for word in before[::-1]), "", ""])[:2]
        subject = last == "der" and other not in _DATIVE
        if subject or last in ("die", "das", "eine", "jede", "diese"):
            form = ""
        elif last in _INFLECTING:
            form = "-n"
        else:  # no article: the noun's own ending
            after = match.string[match.end() :].strip().split(" ")[0]
            form = "-s" if after in _NEUTER else "" if self.feminine.match(after) else "-r"
        return ordinal(match[1], "de", f"ordinal{form}")

    def hour(self, match: re.Match[str]) -> str:
        hour, minute = match[1], int(match[2] or 0)
        if self.code == "de":
            said = f"{cardinal(int(hour), 'de', 'cardinal-masculine')} Uhr"
        elif self.code == "fr":
            said = f"{cardinal(int(hour), 'fr', 'cardinal-feminine')} heure{'s' * (int(hour) > 1)}"
        else:
            said = cardinal(int(hour), "es", "cardinal-feminine")
        return f"{said} {cardinal(minute, self.code)}" if minute else said


_Pairs = list[tuple[str, Callable[[re.Match[str]], str]]]
_HOUR, _MINUTE, _YEAR = "([0-2]?[0-9])", "([0-5][0-9])", "(1[0-9]{3}|20[0-9]{2})"
_SLASHED = rf"{_ALONE}([0-3]?[0-9])/([01]?[0-9])/([0-9]{{4}}|[0-9]{{2}})(?![\w/])"


@functools.cache
def _rules(code: str) -> tuple[Rule, ...]:
    language = {"de": GERMAN, "fr": FRENCH, "es": SPANISH}[code]
    say = _Reader(language)
    units = "|".join(re.escape(unit) for unit in sorted(language.units, key=len, reverse=True))
    coins = "|".join(re.escape(sign) for sign in language.money)
    ratio = "zu" if code == "de" else language.to
    own = {"de": _german, "fr": _french, "es": _spanish}[code](say)
    pairs: _Pairs = [
        *map(_abbreviation, language.abbreviations.items()),
        (
            rf"{_ALONE}{_YEAR} ?[-–] ?{_YEAR}(?![\w-])",
            lambda m: f"{year(m[1], code)} {language.to} {year(m[2], code)}",
        ),
        (
            rf"{_ALONE}([0-9]{{1,2}}(?::[0-9]{{2}})?) ?[-–] ?"
            r"(?=[0-9]{1,2}(?::[0-9]{2}| ?(?:Uhr|h)\b))",
            lambda m: f"{m[1]} {language.to} ",
        ),
        *own,
        (
            r"(?<![\w.,/])\+[0-9]{1,3}(?: ?\(0\) ?[0-9]+)?(?:[ /-]\(?[0-9]+\)?)+(?!\w)",
            say.telephone,
        ),
        (r"(?<![\w.,/-])[0-9]+(?:-[0-9]+){2,}(?![\w-])", say.telephone),
        (
            rf"{_ALONE}(?=[0-9 ]* [0-9]{{2}}(?![0-9]))"
            r"[0-9]{2,3}(?: [0-9]{2,3}){2,4}(?![\w,]| [0-9])",
            say.telephone,
        ),
        (r"(?<![\w.,/])0[0-9](?:\.[0-9]{2}){4}(?![\w.,][0-9])", say.telephone),
        (r"(?<![\w.,/])(?<![0-9] )0[0-9]{1,4}(?:[ /-][0-9]{2,}){1,5}(?![\w,])", say.telephone),
        (rf"(?<=\b{language.telephone}) [0-9][0-9 /-]{{5,}}[0-9](?!\w)", say.telephone),
        # $1.5 and 1.5 $: a point can only be that of decimals.
        (rf"(?:{coins}) ?[0-9]+\.[0-9]{{1,2}}(?![0-9.,])", lambda m: m[0].replace(".", ",")),
        (
            rf"{_ALONE}[0-9]+\.[0-9]{{1,2}}(?= ?(?:{_BIG}|M|Md)? ?(?:{coins}))",
            lambda m: m[0].replace(".", ","),
        ),
        (rf"(?P<sign>{coins}) ?{_AMOUNT}(?:/(?P<per>{units}))?(?![\w,])", say.money),
        (rf"{_ALONE}{_AMOUNT}[ -]?(?P<sign>{coins})(?:/(?P<per>{units}))?(?!\w)", say.money),
        (
            rf"{_ALONE}({_NUMBER}) ?[-–] ?(?={_NUMBER})",
            lambda m: f"{say.number(m[1])} {language.to} ",
        ),
        (rf"{_ALONE}([0-9]+):(?=[0-9]+(?![\w:]))", lambda m: f"{say.number(m[1])} {ratio} "),
        (rf"{_ALONE}([0-9]{{1,2}})/([0-9]{{1,2}})(?: ?({units}))?(?![\w/])", say.fraction),
        (rf"(?<![\w.)])-(?={_NUMBER})", lambda m: f"{minus_of(code)} "),
        (rf"{_ALONE}({_NUMBER}) ?({units})([²³23])?(?:/({units}))?(?!\w)", say.measure),
        (r"(?<=[0-9]) ?x ?(?=[0-9])", lambda m: f" {language.signs['×']} "),
        (rf"{_ALONE}({_NUMBER}) ({language.noun})", say.counted),
        (r"(?<=[^\W\d_])-?(?=[0-9])|(?<=[0-9])-?(?=[^\W\d_])", lambda m: " "),
        (_NUMBER, lambda m: say.number(m[0])),
        (r"(?<=[a-zà-ÿ])\.(?=[A-ZÀ-Þ][a-zà-ÿ])", lambda m: ". "),
        (r"(?<=\w)\.(?=[^\W\d_])", lambda m: f" {language.address['.']} "),
        (f"[{re.escape(''.join(language.signs))}]", lambda m: f" {language.signs[m[0]]} "),
    ]
    web = address_rules(language.address)
    return (*web, *((re.compile(pattern), spoken) for pattern, spoken in pairs))


def _abbreviation(pair: tuple[str, str]) -> tuple[str, Callable[[re.Match[str]], str]]:
    pattern, words = pair
    lasting = words.endswith(("weiter", "cetera", "etcétera", "Christus", "Christ", "Cristo"))

    def said(match: re.Match[str]) -> str:
        ends = not match.string[match.end() :].strip() or lasting
        return words + (final_stop(match) if ends and match.group().endswith(".") else "")

    return rf"(?<!\w){pattern}" + (r"(?!\w)" if pattern.endswith(".") else ""), said


def _german(say: _Reader) -> _Pairs:
    months, day = "|".join(say.months), "([0-3]?[0-9])"
    before_years = f"{months}|[Jj]ahre?|[Ss]eit|[Vv]on|[Bb]is|[Aa]b|[Uu]m|[Nn]ach|[Vv]or"
    not_an_amount = r"(?![\w%]|[.,-][0-9]| ?[%€$]| Euro)"
    return [
        (
            rf"{_ALONE}([0-3]?[0-9]\.[01]?[0-9]\.[0-9]*) ?[-–] ?(?=[0-3]?[0-9]\.[01]?[0-9]\.)",
            lambda m: f"{m[1]} bis ",
        ),
        (rf"{_ALONE}{day}\. ?([01]?[0-9])\. ?([0-9]{{4}}|[0-9]{{2}})?(?![\w.])", say.date),
        (
            rf"{_ALONE}{day}\. ?[-–] ?(?=[0-3]?[0-9]\. (?:{_PLACED}|{months})\b)",
            lambda m: f"{m[1]}. bis ",
        ),
        (rf"{_ALONE}{day}\.(?= (?:bis|und|oder) (?:zum )?[0-3]?[0-9]\.)", say.place),
        (rf"{_ALONE}{day}\.(?= ?(?:{months})\b)", say.place),
        (
            r"(?:(?<=\b(?:am|im) )|(?<=\b(?:der|die|das|dem|den|des|vom|zum|ein) )|"
            r"(?<=\b(?:beim|eine) ))([0-9]{1,3})\.(?= [a-zäöüA-ZÄÖÜ])",
            say.place,
        ),
        (rf"{_ALONE}([0-9]{{1,3}})\.(?= (?:{_PLACED})\b)", say.place),
        (rf"{_ALONE}{_HOUR}[:.]{_MINUTE} ?Uhr\b", say.hour),
        (rf"{_ALONE}{_HOUR}:{_MINUTE}(?![\w:])", say.hour),
        (rf"{_ALONE}{_HOUR}() Uhr\b", say.hour),
        (rf"{_ALONE}(1[0-9]{{2}}0|[1-9]00?)er(n?)\b", lambda m: f"{year(m[1], 'de')}er{m[2]}"),
        (
            rf"\b({before_years}) (1[1-9][0-9]{{2}}){not_an_amount}",
            lambda m: f"{m[1]} {year(m[2], 'de')}",
        ),
        (rf"{_ALONE}(19[0-9]{{2}}){not_an_amount}", lambda m: year(m[1], "de")),
        (rf"{_ALONE}({_NUMBER}) ?%(ig\w*)", lambda m: f"{say.number(m[1])}prozent{m[2]}"),
        (r"\b(\w+)str\.(?!\w)", lambda m: f"{m[1]}straße" + final_stop(m)),
    ]


def _french(say: _Reader) -> _Pairs:
    forms = say.language.ordinals
    endings = "|".join(sorted(forms, key=len, reverse=True))
    return [
        (_SLASHED, say.date),
        (
            rf"{_ALONE}([0-9]+)({endings})\b",
            lambda m: ordinal(m[1], "fr", f"ordinal-{forms[m[2]]}"),
        ),
        (
            rf"\b(?=[XVI]+(?:{endings})\b)({ROMAN})({endings})\b",
            lambda m: ordinal(roman_value(m[1]), "fr", f"ordinal-{forms[m[2]]}"),
        ),
        (rf"{_ALONE}{_HOUR} ?h(?: ?{_MINUTE}(?: ?min\b)?)?(?!\w)", say.hour),
        (rf"{_ALONE}{_HOUR}:{_MINUTE}(?![\w:])", say.hour),
    ]


def _spanish(say: _Reader) -> _Pairs:
    forms = say.language.ordinals
    return [
        (_SLASHED, say.date),
        (
            rf"{_ALONE}([0-9]+)\.?(º|ª|er\b)",
            lambda m: ordinal(m[1], "es", f"ordinal-{forms[m[2]]}"),
        ),
        (
            rf"\b[Ss]iglos? {ROMAN}\b(?:(?: (?:y|al?) | ?[-–] ?){ROMAN}\b)?",
            lambda m: re.sub(
                rf"\b{ROMAN}\b",
                lambda n: cardinal(roman_value(n.group()), "es"),
                re.sub(" ?[-–] ?", " a ", m.group()),
            ),
        ),
        (rf"{_ALONE}{_HOUR}:{_MINUTE}(?: ?h\b)?(?![\w:])", say.hour),
        (rf"{_ALONE}{_HOUR}\.{_MINUTE} ?h\b", say.hour),
    ]
