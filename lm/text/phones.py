"""Words -> how they are pronounced: "the cat" -> 'D@ k{t'.

A small corpus has each spelling a few times and each sound thousands of times, so what is to be
said is learned sooner from phones. They are written in SAMPA (J. C. Wells, 1987; its English set),
one or two characters a phone: ASCII, so every tokenizer reads it. The pronunciation is
espeak-ng's.
"""

from __future__ import annotations

import re

from .espeak import load_espeak
from .normalize import NothingToSay, base_of

# Where espeak-ng has no voice of the code that corpora use, or another one is meant by it.
_VOICES = {"en": "en-us", "en-gb": "en", "zh": "cmn", "no": "nb"}
# IPA signs that SAMPA writes otherwise; others, such as p or s, are themselves.
_SAMPA = str.maketrans(
    {
        "ɡ": "g", "ɹ": "r", "ʁ": "R", "θ": "T", "ð": "D", "ʃ": "S", "ʒ": "Z", "ŋ": "N", "ɲ": "J",
        "ɬ": "K", "ç": "C", "ʔ": "?", "ɾ": "4", "β": "B", "ɣ": "G", "ʎ": "L", "ɥ": "H", "χ": "X",
        "ɪ": "I", "ᵻ": "1", "ɨ": "1", "ɛ": "E", "æ": "{", "ɑ": "A", "ɒ": "Q", "ɐ": "6", "ʌ": "V",
        "ɔ": "O", "ʊ": "U", "ʉ": "}", "ə": "@", "ɚ": "@`", "ɜ": "3", "ɝ": "3`", "ø": "2", "œ": "9",
        "ɯ": "M", "ʏ": "Y", "ɤ": "7", "ː": ":", "ˈ": '"', "ˌ": "%", "\u0329": "=", "\u0303": "~",
        "\u200d": "", "\u0361": "",
    }
)  # fmt: skip
_PAUSE = " | "  # SAMPA's end of a group
# The letter's name in English, which espeak-ng takes for the article: "seven A M", "type A blood".
_LETTER_A = re.compile(r"(?<=[\w,;:] )A(?=$|[,.;:!?)\"'-]| [a-z]| [A-Z]\b)|\bA(?= [B-HJ-Z]\b)")


def phones(text: str, language: str | None = "en") -> str:
    """The phones of a text in SAMPA, groups apart where its punctuation parts them.

    Args:
        text: Words as they are spoken: numbers and abbreviations written out.
        language: Code; None is English.

    Raises:
        ImportError: espeak-ng is not installed, with the command that installs it.
        NothingToSay: the text has nothing to pronounce.
        ValueError: espeak-ng does not know the language.

    Example:
        >>> phones("the happy dog walked, near the river")
        'D@ h"{pi d"A:g w"O:kt | n%Ir D@ r"Iv@`'
    """
    code = (language or "en").lower().replace("_", "-")
    try:
        espeak = load_espeak()
    except ImportError as error:
        raise ImportError(
            "this model reads phones, which come from espeak-ng: pip install espeakng-loader"
        ) from error
    if base_of(code) == "en":
        text = _LETTER_A.sub("eh", text)
    clauses = espeak.ipa(text, _VOICES.get(code, code))
    said = _PAUSE.join(" ".join(clause.translate(_SAMPA).split()) for clause in clauses)
    if not said:
        raise NothingToSay(f"nothing of {text[:40]!r} can be pronounced")
    return said
