"""Texts -> phones in IPA with their punctuation, as neural synthesizers read them."""

from __future__ import annotations

import re

from ..text.phones import load_espeak

# Signs that shape intonation, with the spaces around them.
_SIGNS = re.compile(r'\s*[;:,.!?—…"“”()]+\s*')
_FOREIGN = re.compile(r"\([a-z-]+\)")  # marks of words that espeak-ng reads in another language


def phonemize(text: str, voice: str) -> str:
    """Return the phones of a text in IPA, with its punctuation.

    Args:
        text: Words and punctuation.
        voice: Language by espeak-ng's name, such as "en-us".

    Raises:
        ImportError: espeakng-loader is not installed.
        ValueError: espeak-ng does not know the language.
    """
    espeak = load_espeak()
    pieces, end = [], 0
    for match in [*_SIGNS.finditer(text), None]:
        words = text[end : match.start() if match else len(text)].strip()
        if words:
            pieces.append(" ".join(clause.strip() for clause in espeak.ipa(words, voice)))
        if match:
            pieces.append(match[0])
            end = match.end()
    return _FOREIGN.sub("", "".join(pieces)).replace("\u200d", "").strip()
