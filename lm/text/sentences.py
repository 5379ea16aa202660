"""A long text -> parts short enough to speak in one go, with nothing lost.

Joining the parts gives the text back, whitespace aside. A part is a sentence if it is short
enough; a longer one is cut at a clause, else between words, else inside a word.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

# Titles and the like: what follows belongs to them, so they never end a sentence.
_BEFORE_MORE = frozenset(
    "mr mrs ms messrs mme mlle dr prof rev hon gen col maj capt lt sgt cpl pvt adm cmdr gov sen rep"
    " pres st mt ft vs cf ca fig figs eq approx e.g i.e viz nos vol vols pp ed eds trans art sec"
    " dept univ est al jan feb mar apr jun jul aug sep sept oct nov dec"
    # German, French and Spanish ones
    " z.b d.h u.a bzw nr ggf evtl inkl vgl bspw sr sra srta dra ud uds ee dña núm pág n.º".split()
)
# German ordinals: "am 3. Oktober", "das 21. Jahrhundert".
_PLACED = re.compile(
    r"(?:Januar|Februar|März|April|Mai|Juni|Juli|August|September|Oktober|November|Dezember"
    r"|Jahrhunderts?|Kapitels?|Auflage|Geburtstag|Mal|Platz|Klasse|Bezirk)\b"
)
# These end one if a capital letter follows.
_MAYBE_LAST = frozenset(
    "etc jr inc ltd co corp bros plc no p.m a.m u.s u.k u.n e.u d.c ph.d m.d b.a m.a b.sc ave"
    " blvd rd in ft lb oz min max hr hrs sq tel ext b.c a.d".split()
)
_CLOSERS = "\"'”’»)]}›」』）"
_OPENERS = "\"'“‘«([{‹「『（¿¡"
# A run of end signs with what closes after it; Chinese and Japanese ones need no space behind.
_END = re.compile(
    rf"(?:[.!?…]+[{re.escape(_CLOSERS)}*_]*(?=\s|$))|(?:[。！？｡।؟۔]+[{re.escape(_CLOSERS)}]*)"
)
_PARAGRAPH = re.compile(r"\n[^\S\n]*\n\s*")
_SIGHT = 50  # characters looked at on either side of an end sign
# Best cuts of a long sentence first: strong clause signs, then commas, then spaces between words
# (not in "5 km" or "Dr. Lee"), then any whitespace.
_CUTS = (
    re.compile(r"(?<=[;:—–])\s+|\s+(?=[—–]\s)|(?<=[；：])"),
    re.compile(r"(?<=,)\s+|(?<=[)\]])\s+|\s+(?=[(\[])|(?<=[，、])"),
    re.compile(r"(?<=[^\W\d_])\s+(?=[^\W\d_])"),
    re.compile(r"\s+"),
)
_JOINERS = "\u200d\ufe0e\ufe0f"  # zero width joiner, variation selectors


def split_sentences(text: str) -> list[str]:
    """Cut a text into its sentences.

    Abbreviations, initials, decimals, numbered points, quotes that a sentence goes on after and
    an ellipsis in the middle do not end one. An empty line always does.

    Example:
        >>> split_sentences('Dr. J. Smith paid $3.50. "Why?" he asked. No one knew...')
        ['Dr. J. Smith paid $3.50.', '"Why?" he asked.', 'No one knew...']
    """
    found = []
    for paragraph in _PARAGRAPH.split(text):
        start = 0
        for match in _END.finditer(paragraph):
            if _ends(paragraph, start, match):
                found.append(paragraph[start : match.end()].strip())
                start = match.end()
        found.append(paragraph[start:].strip())
    return [sentence for sentence in found if sentence]


def split_text(text: str, *, max_chars: int = 240, min_chars: int = 30) -> list[str]:
    """Cut a text into parts to speak one after another.

    Args:
        text: Anything; whitespace alone gives no part.
        max_chars: No part is longer. 240 characters are about 16 s of English.
        min_chars: Shorter sentences join a neighbour if both fit: a lone "Yes." is the least
            stable thing to synthesise.

    Returns:
        Parts without outer whitespace; joined they are the text, whitespace aside.

    Raises:
        ValueError: if the limits are not `0 <= min_chars <= max_chars`, `max_chars >= 1`.
    """
    if max_chars < 1 or not 0 <= min_chars <= max_chars:
        raise ValueError(
            f"min_chars and max_chars must satisfy 0 <= min_chars <= max_chars and 1 <= max_chars,"
            f" got {min_chars} and {max_chars}"
        )
    parts: list[str] = []
    for sentence in split_sentences(text):
        for part in _fitting(sentence, max_chars):
            short = parts and min(len(part), len(parts[-1])) < min_chars
            if short and len(parts[-1]) + 1 + len(part) <= max_chars:
                parts[-1] = f"{parts[-1]} {part}"
            else:
                parts.append(part)
    return parts


def _ends(text: str, start: int, match: re.Match[str]) -> bool:
    """Whether the signs of `match` end the sentence that began at `start`."""
    after = text[match.end() : match.end() + _SIGHT].lstrip()
    if not after:
        return True
    follower = after.lstrip(_OPENERS + "*_ ")[:1]
    if follower.islower():
        # "What?" he said. / wait... what / etc. and so on
        return match.group()[0] in "。！？｡।؟۔"
    if match.group() != ".":
        return True
    before = text[max(start, match.start() - _SIGHT) : match.start()].split()
    word = before[-1].lstrip(_OPENERS + "-*_") if before else ""
    lower = word.lower()
    if len(word) == 1 and word.isalpha() and word != "I":
        return False  # an initial: J. K. Rowling, 44 a. C.
    if lower in _BEFORE_MORE or (word.isdigit() and _PLACED.match(after)):
        return False
    if lower in _MAYBE_LAST:
        return not follower.isdigit() and not follower == ""
    # "1. First point": the number of a point, not a sentence of its own.
    return not (word.isdigit() and len(word) <= 2 and text[start : match.start()].strip() == word)


def _fitting(sentence: str, most: int) -> Iterator[str]:
    """Halve a sentence at its best cut until every part fits: parts of even length, no crumbs."""
    waiting = [sentence]
    while waiting:
        part = waiting.pop().strip()
        if len(part) <= most:
            if part:
                yield part
            continue
        left, right = _cut(part, most)
        waiting += [part[right:], part[:left]]


def _cut(part: str, most: int) -> tuple[int, int]:
    """Where the left half ends and where the right one begins (the space between is dropped)."""
    middle = len(part) / 2
    for pattern in _CUTS:
        spans = [m.span() for m in pattern.finditer(part) if 0 < m.start() and m.end() < len(part)]
        if not spans:
            continue
        best = min(spans, key=lambda span: abs(sum(span) / 2 - middle))
        # A clause that leaves a crumb on one side is no better than a space in the middle.
        if pattern is _CUTS[-1] or min(best[0], len(part) - best[1]) >= len(part) / 5:
            return best
    return (_inside(part, most),) * 2


def _inside(word: str, most: int) -> int:
    """A place inside a word: whole parts of `most`, but never between a letter and its accents."""
    at = min(most * max(1, round(len(word) / 2 / most)), len(word) - 1)
    while at > 1 and (unicodedata.combining(word[at]) or word[at] in _JOINERS):
        at -= 1
    # A heap of accents without end: cut it all the same.
    return at if at > 1 else max(1, min(most, len(word) - 1))
