"""Addresses of the web, abbreviations, Roman numerals and symbols as English words."""

from __future__ import annotations

import re

from .numbers import cardinal, ordinal
from .rules import NUMBER, ROMAN, Rule, final_stop, roman_value

# ------------------------------------------------------------------ addresses of the web

_DOMAINS = (
    "com org net edu gov mil int info biz io ai dev app tv me us uk co ca de fr eu au nz jp cn in"
    " it es nl ch at be se no dk fi pl ru br mx ie"
).split()
_SIGNS = {
    ".": "dot", "/": "slash", "-": "dash", "_": "underscore", "@": "at", ":": "colon",
    "?": "question mark", "=": "equals", "&": "and", "#": "hash", "%": "percent", "~": "tilde",
    "+": "plus",
}  # fmt: skip


def address_rules(signs: dict[str, str]) -> tuple[Rule, ...]:
    """Addresses of the web and of mail, with the words for their signs."""

    def said(match: re.Match[str]) -> str:
        whole = match.group()
        text = whole.rstrip(".,;:!?)\"'>]}")
        rest = whole[len(text) :]
        text = re.sub(r"^[a-z]+://", "", text, flags=re.IGNORECASE).rstrip("/")
        text = re.sub(r"\bwww\b", "w w w", text, flags=re.IGNORECASE)
        words = re.sub(r"[^\w\s]|_", lambda m: f" {signs.get(m[0], '')} ", text)
        return f" {' '.join(words.split())}{rest} "

    return (
        (re.compile(r"(?<![\w.+-])(?:mailto:)?[\w.+-]{1,64}@[\w-]+(?:\.[\w-]+)+"), said),
        (re.compile(r"\b(?:https?|ftp)://\S+|\bwww\.\S+", re.IGNORECASE), said),
        (
            re.compile(
                rf"(?<![\w.@-])[a-z0-9][a-z0-9-]*(?:\.[a-z0-9-]+)*\.(?:{'|'.join(_DOMAINS)})"
                r"(?:/[^\s]*|(?![\w.-]\w))(?!\w)"
            ),
            said,
        ),
    )


WEB = address_rules(_SIGNS)

# ------------------------------------------------------------------ abbreviations

# Before a name only.
_TITLES = {
    "Dr": "Doctor", "Prof": "Professor", "Rev": "Reverend", "Hon": "Honorable", "Gen": "General",
    "Col": "Colonel", "Maj": "Major", "Capt": "Captain", "Lt": "Lieutenant", "Sgt": "Sergeant",
    "Cpl": "Corporal", "Pvt": "Private", "Adm": "Admiral", "Cmdr": "Commander",
    "Gov": "Governor", "Sen": "Senator", "Rep": "Representative", "Pres": "President",
    "Mt": "Mount", "Ft": "Fort", "Messrs": "Messieurs",
}  # fmt: skip
_ANYWHERE = {
    "Jr": "Junior", "Sr": "Senior", "Inc": "Incorporated", "Ltd": "Limited", "Co": "Company",
    "Corp": "Corporation", "Bros": "Brothers", "Ave": "Avenue", "Blvd": "Boulevard", "Rd": "Road",
    "Ln": "Lane", "Hwy": "Highway", "Pkwy": "Parkway", "Dept": "Department", "dept": "department",
    "Univ": "University", "etc": "et cetera", "vs": "versus", "approx": "approximately",
    "et al": "and others", "viz": "namely", "cf": "compare", "ca": "circa", "tel": "telephone",
    "Tel": "Telephone", "max": "maximum", "min": "minimum", "misc": "miscellaneous",
    "Apt": "Apartment",
    "govt": "government", "Govt": "Government", "est": "established",
}  # fmt: skip
_DOTTED = {
    "e.g.": "for example", "i.e.": "that is", "a.k.a.": "also known as", "p.s.": "P S",
    "Ph.D.": "P H D", "B.Sc.": "B S C", "M.Sc.": "M S C",
}  # fmt: skip
# Before a number only.
_COUNTED = {
    "no": "number", "nos": "numbers", "vol": "volume", "vols": "volumes", "p": "page",
    "pp": "pages", "fig": "figure", "figs": "figures", "eq": "equation", "ch": "chapter",
    "sec": "section", "art": "article", "ext": "extension", "pg": "page",
}  # fmt: skip
_SLASHED = {
    "w/o": "without", "w/": "with", "n/a": "not applicable", "c/o": "care of", "and/or": "and or",
    "he/she": "he or she", "she/he": "she or he", "his/her": "his or her",
    "him/her": "him or her", "s/he": "she or he", "yes/no": "yes or no", "either/or": "either or",
}  # fmt: skip
_PRONOUNS = "He|She|It|They|The|We|I|You|This|That|There|A|An|In|On|At|But|And|Then|When"
_LEADING = "In|At|On|The|From|To|Of|And|Near|By|For|With"


def _either(names: dict[str, str]) -> str:
    return "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True))


def _counted(match: re.Match[str]) -> str:
    words = _COUNTED[match[1].lower()]
    return words.capitalize() if match[1][0].isupper() else words


def _slash(match: re.Match[str]) -> str:
    return f"{_SLASHED[match.group().lower()]} "


_ABBREVIATIONS: tuple[Rule, ...] = (
    # A space that is missing after a title.
    (
        re.compile(rf"\b(Mr|Mrs|Ms|St|{'|'.join(_TITLES)})\.(?=[A-Z][a-z])"),
        lambda m: f"{m[0]} ",
    ),
    (re.compile(r"\bMr\b\.?"), lambda m: "Mister"),
    (re.compile(r"\bMrs\b\.?"), lambda m: "Missus"),
    (re.compile(r"\bMs\."), lambda m: "Ms"),
    (re.compile(rf"\b({_either(_TITLES)})\.(?=\s+[A-Z])"), lambda m: _TITLES[m[1]]),
    (re.compile(r"\bDr(?=\s+[A-Z])"), lambda m: "Doctor"),
    (re.compile(r"(?<=[a-z] )Dr\b\."), lambda m: "Drive" + final_stop(m)),
    (re.compile(rf"(?<=[a-z0-9] )St\.(?=\s+(?:{_PRONOUNS})\b)"), lambda m: "Street."),
    (
        re.compile(rf"(?<=\b)(?<!\w)((?:{_LEADING}) )?St\.(?=\s+[A-Z])"),
        lambda m: (m[1] or "") + "Saint",
    ),
    (re.compile(r"(?<=[a-z0-9] )St\b\.(?!\w)"), lambda m: "Street" + final_stop(m)),
    (re.compile(rf"(?<![\w.])({_either(_DOTTED)})", re.IGNORECASE), lambda m: _dotted(m)),
    (re.compile(r"(?<!/)\b(etc|vs)\b(?![./])"), lambda m: _ANYWHERE[m[1]]),
    (re.compile(rf"\b({_either(_ANYWHERE)})\.(?!\w)"), lambda m: _ANYWHERE[m[1]] + final_stop(m)),
    (
        re.compile(rf"\b({'|'.join(_COUNTED)})\.\s?(?=[0-9])", re.IGNORECASE),
        lambda m: _counted(m) + " ",
    ),
    (re.compile(r"(?:№|\bNo)\s?(?=[0-9])"), lambda m: "number "),
    (re.compile(r"\bv(?:er)?\.? ?(?=[0-9]+(?:\.[0-9]+)*(?![\w.]*\w))"), lambda m: "version "),
    (re.compile(rf"(?<![\w/])(?:{_either(_SLASHED)})(?![\w/])", re.IGNORECASE), _slash),
    # U.S. is two letters; the stop of the last one may be the sentence's too.
    (
        re.compile(r"(?<![\w.])(?:[A-Za-z]\.){2,}(?!\w)"),
        lambda m: " ".join(m[0].replace(".", "").upper()) + final_stop(m),
    ),
    (re.compile(r"\b([BP]\.?H?\.?D)\b\.(?=\s[a-z])"), lambda m: m[1]),
)


def _dotted(match: re.Match[str]) -> str:
    words = {name.lower(): spoken for name, spoken in _DOTTED.items()}[match[1].lower()]
    return (words.capitalize() if match[1][0] == "E" else words) + final_stop(match)


# ------------------------------------------------------------------ Roman numerals

_NUMBERED = (
    "Chapter|Part|Volume|Vol|Book|Act|Scene|War|Section|Article|Phase|Type|Class|Level|Stage|Title"
    "|Appendix|Figure|Table|Lesson|Episode|Round|Bowl|Symphony|Movement|Opus|Psalm|Unit"
)
_REGNAL = (
    "Henry|Louis|Elizabeth|George|Edward|Charles|William|Richard|James|Philip|Frederick|Catherine"
    "|Nicholas|Alexander|Peter|Paul|John Paul|John|Benedict|Pius|Leo|Gregory|Innocent|Clement|Urban"
    "|Napoleon|Otto|Wilhelm|Friedrich|Ferdinand|Francis|Ivan|Mary|Victoria|Robert|Rameses|Ramses"
    "|Ptolemy|Cleopatra|Xerxes|Darius|Carlos|Felipe|Juan Carlos|Gustav|Christian|Umberto"
)
_AFTER_ME = (
    "am|have|had|think|thought|like|liked|love|loved|want|wanted|need|needed|know|knew|will|would"
    "|can|could|should|read|wrote|saw|see|use|used|bought|got|made|found|hate|remember|meant"
)
_WARS = {"I": "one", "1": "one", "II": "two", "2": "two"}
_RULER = "King|Queen|Pope|Emperor|Empress|Tsar|Czar|Prince|Princess|Saint"


_NUMERALS: tuple[Rule, ...] = (
    (re.compile(r"\bWW(II?|[12])\b"), lambda m: f"World War {_WARS[m[1]]}"),
    (  # "Class C" and "Shape L" are letters, and "Part I like" is no part.
        re.compile(rf"\b({_NUMBERED})\.? +(?![CL]\b)(?!I (?:{_AFTER_ME})\b)({ROMAN})\b(?!['-])"),
        lambda m: f"{m[1]} {cardinal(roman_value(m[2]))}",
    ),
    (
        re.compile(rf"\b({ROMAN})(?= [Cc]entur(?:y|ies)\b)"),
        lambda m: ordinal(roman_value(m[1])),
    ),
    (
        re.compile(rf"\b((?:{_RULER}) [A-Z][a-z]+) ({ROMAN})\b"),
        lambda m: f"{m[1]} the {ordinal(roman_value(m[2]))}",
    ),
    (
        # "Henry I" alone might go on "... think": two letters or more, or V and X.
        re.compile(rf"\b({_REGNAL}) (?!I\b|C\b|L\b)({ROMAN})\b"),
        lambda m: f"{m[1]} the {ordinal(roman_value(m[2]))}",
    ),
)

WORDS: tuple[Rule, ...] = _ABBREVIATIONS + _NUMERALS

# ------------------------------------------------------------------ symbols

_PER = "hour|month|year|day|week|minute|second|person|night|mile|gallon|pound|share|piece|each"
_SPOKEN = {
    "&": "and", "@": "at", "=": "equals", "+": "plus", "×": "times", "÷": "divided by",
    "≤": "at most", "≥": "at least", "<": "less than", ">": "greater than", "≠": "is not equal to",
    "≈": "about", "±": "plus or minus", "√": "the square root of", "∞": "infinity", "π": "pi",
    "Ω": "ohm", "§": "section", "©": "copyright", "®": "", "™": "", "%": "percent",
    "°": "degrees", "→": "to", "²": "squared", "³": "cubed", "\\": "backslash", "$": "dollars",
    "£": "pounds", "€": "euros", "¥": "yen", "¢": "cents",
}  # fmt: skip


def _comparison(match: re.Match[str]) -> str:
    return f" {_SPOKEN[{'<': '≤', '>': '≥', '=': '='}[match.group().strip()[0]]]} "


SYMBOLS: tuple[Rule, ...] = (
    (re.compile(r"<[/!]?[A-Za-z][^<>]{0,200}>"), lambda m: " "),  # markup
    (re.compile(r"&(amp|lt|gt|quot|nbsp);"), lambda m: " and " if m[1] == "amp" else " "),
    (re.compile(rf"#(?={NUMBER})"), lambda m: "number "),
    (re.compile(r"#(?=[A-Za-z])"), lambda m: "hashtag "),
    (re.compile(r"(?<=\b[A-G])#(?!\w)"), lambda m: " sharp"),
    (re.compile(rf"~(?={NUMBER})"), lambda m: "about "),
    (re.compile(r"(?<=[0-9])\s?\*\s?(?=[0-9])"), lambda m: " times "),
    (re.compile(r"(?<=[0-9])\*(?= \w)"), lambda m: " star"),
    (re.compile(r"(?<=[0-9])\s?[<>=]=\s?"), _comparison),
    (re.compile(f"[{re.escape(''.join(_SPOKEN))}]"), lambda m: f" {_SPOKEN[m[0]]} "),
    (re.compile(r"(?<![\w/])km/h(?!\w)"), lambda m: "kilometers per hour"),
    (re.compile(rf"(?<=[a-z])\s?/\s?(?=(?:{_PER})\b)"), lambda m: " per "),
    (re.compile(r"(?<=\w)/(?=\w)"), lambda m: " slash "),
    (re.compile(r"\s+-+\s+|\s*(?:[—–]|--+)\s*|\s*\|\s*"), lambda m: ", "),
    # A name with a dot (Node.js), and a sentence that lacks its space.
    (re.compile(r"(?<=[a-z])\.(?=[A-Z][a-z])|\s\.(?=[A-Z][a-z])"), lambda m: ". "),
    (re.compile(r"(?<![.\s])\.(?=[^\W\d_])|(?<!\S)\.(?=[^\W\d_])"), lambda m: " dot "),
)
