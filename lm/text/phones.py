"""Words -> how they are pronounced: "the cat" -> 'D@ k{t'.

A small corpus has each spelling a few times and each sound thousands of times, so what is to be
said is learned sooner from phones. They are written in SAMPA (J. C. Wells, 1987; its English set),
one or two characters a phone: ASCII, so every tokenizer reads it. The pronunciation is
espeak-ng's.
"""

from __future__ import annotations

import ctypes
import functools
import re
import threading

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


# Constants of speak_lib.h.
_SYNCHRONOUS, _DONT_EXIT = 2, 0x8000
_UTF8, _IPA = 1, 2


class Espeak:
    """The library, ready to speak and to pronounce.

    It keeps its state globally, so a process has one of it; whoever uses it sets the voice first.
    """

    def __init__(self) -> None:
        """Load it.

        Raises:
            ImportError: the package espeakng-loader is not installed.
            OSError, RuntimeError: it is, and does not work on this machine.
        """
        import espeakng_loader

        self.library = ctypes.CDLL(espeakng_loader.get_library_path())
        data = espeakng_loader.get_data_path()
        self.sample_rate = int(
            self.library.espeak_Initialize(_SYNCHRONOUS, 0, str(data).encode(), _DONT_EXIT)
        )
        if self.sample_rate <= 0:
            raise RuntimeError(f"espeak_Initialize gave {self.sample_rate} with data in {data}")
        self.library.espeak_TextToPhonemes.restype = ctypes.c_char_p
        self.lock = threading.Lock()  # from setting a voice to the last use of it

    def set_voice(self, name: str) -> None:
        """Choose language and speaker by espeak-ng's name, such as "en-us" or "en+mike2".

        Raises:
            ValueError: there is no such voice.
        """
        if self.library.espeak_SetVoiceByName(name.encode()):
            raise ValueError(f"espeak-ng has no voice {name!r}")

    def ipa(self, text: str, voice: str) -> list[str]:
        """The phones of a text in the International Phonetic Alphabet, clause by clause.

        Args:
            text: as it is written.
            voice: its language, by espeak-ng's name.

        Raises:
            ValueError: there is no such voice.
        """
        with self.lock:
            self.set_voice(voice)
            rest = ctypes.c_char_p(text.encode())
            clauses = []
            while rest.value:
                said = self.library.espeak_TextToPhonemes(ctypes.byref(rest), _UTF8, _IPA)
                clauses.append(said.decode())
        return [clause for clause in clauses if clause.strip()]


@functools.cache
def load_espeak() -> Espeak:
    """The one of this process; errors as :class:`Espeak`."""
    return Espeak()
