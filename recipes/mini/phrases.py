"""English sentences from a small vocabulary, in three parts that share none."""

import hashlib
import string
from collections.abc import Iterator

import numpy as np

SPLITS = ("train", "validation", "test")
# Of 10 sentences, by their hash: which part one belongs to does not depend on any seed.
_TENTHS = ("train",) * 8 + ("validation", "test")

_WORDS = {
    "adjective": "small big old young happy quiet tired hungry clever funny gentle lazy".split(),
    "animal": "cat dog bird horse rabbit fox sheep mouse bear duck frog goat".split(),
    "did": "sat slept walked jumped waited danced played rested".split(),
    "where": "under behind beside near on".split(),
    "place": "table garden house river bridge hill tree window school market".split(),
    "name": "anna bob clara david emma frank grace henry julia oliver".split(),
    "number": "zero one two three four five six seven eight nine ten eleven twelve".split(),
    "colour": "red blue green yellow black white brown orange".split(),
    "things": "apples books chairs pencils flowers boxes shoes letters cups stones".split(),
    "command": "open close clean find bring watch move paint".split(),
    "object": "door window lamp basket kitchen radio piano bicycle".split(),
    "when": "today tomorrow tonight now later again".split(),
    "day": "monday tuesday wednesday thursday friday saturday sunday".split(),
    "activity": "swim cook read sing run draw dance fish".split(),
    "weather": "sunny rainy windy cold warm foggy snowy cloudy".split(),
    "city": "london paris berlin rome madrid vienna oslo lisbon".split(),
}

_PATTERNS = (
    "the {adjective} {animal} {did} {where} the {place}",
    "{name} has {number} {colour} {things}",
    "please {command} the {object} {when}",
    "please {command} the {colour} {object} {where} the {place}",
    "{number} and {number} and {number} {things}",
    "on {day} we {activity} with {name}",
    "it is {weather} in {city} {when}",
    "{name} saw a {colour} {animal} {where} the {place}",
    "call {number} {number} {number} {number} on {day}",
    "why is the {animal} {where} the {place} {when}",
)

# Every word of every sentence.
VOCABULARY = tuple(
    sorted(
        {word for words in _WORDS.values() for word in words}
        | {word for pattern in _PATTERNS for word in pattern.split() if "{" not in word}
    )
)


def grammar() -> str:
    """All sentences in JSGF, the Java Speech Grammar Format: for a recogniser of these alone."""
    rules = [f"<{kind}> = {' | '.join(words)};" for kind, words in _WORDS.items()]
    patterns = " | ".join(
        f"({pattern.replace('{', '<').replace('}', '>')})" for pattern in _PATTERNS
    )
    return "\n".join(
        ["#JSGF V1.0;", "grammar mini;", *rules, f"public <sentence> = {patterns};", ""]
    )


def sentences(split: str, rng: np.random.Generator) -> Iterator[str]:
    """Sentences of one part without end, none twice.

    Example:
        >>> next(sentences("train", np.random.default_rng(0)))  # doctest: +SKIP
        'julia has nine black cups'
    """
    seen: set[str] = set()
    while True:
        text = _sentence(rng)
        if split_of(text) == split and text not in seen:
            seen.add(text)
            yield text


def word_groups(rng: np.random.Generator) -> Iterator[str]:
    """One to three words in any order without end: no sentence, and of no part.

    Example:
        >>> next(word_groups(np.random.default_rng(0)))  # doctest: +SKIP
        'orange julia has'
    """
    while True:
        count = int(rng.integers(1, 4))
        yield " ".join(VOCABULARY[int(rng.integers(len(VOCABULARY)))] for _ in range(count))


def split_of(text: str) -> str:
    """The part that a sentence belongs to."""
    return _TENTHS[hashlib.sha256(text.encode()).digest()[0] % len(_TENTHS)]


def _sentence(rng: np.random.Generator) -> str:
    pattern = _PATTERNS[int(rng.integers(len(_PATTERNS)))]
    words = []
    for before, kind, _, _ in string.Formatter().parse(pattern):
        words.append(before)
        if kind:
            words.append(_WORDS[kind][int(rng.integers(len(_WORDS[kind])))])
    return "".join(words)
