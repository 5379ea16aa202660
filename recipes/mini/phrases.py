"""English sentences from a small vocabulary, in three disjoint parts."""

import hashlib
import string
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

SPLITS = ("train", "validation", "test")
# Of 10 sentences, by their hash: the part of a sentence does not depend on a seed.
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


@dataclass(frozen=True)
class Phrases:
    """A small language: word classes, and sentence patterns of them."""

    words: Mapping[str, Sequence[str]]  # kind -> words
    patterns: Sequence[str]  # with kinds in braces

    @property
    def vocabulary(self) -> tuple[str, ...]:
        """All words of the sentences."""
        kinds = {kind for pattern in self.patterns for kind in _kinds(pattern)}
        fixed = {word for pattern in self.patterns for word in pattern.split() if "{" not in word}
        return tuple(sorted(fixed | {word for kind in kinds for word in self.words[kind]}))

    def grammar(self) -> str:
        """Return a grammar of all sentences in JSGF (Java Speech Grammar Format)."""
        rules = [f"<{kind}> = {' | '.join(words)};" for kind, words in self.words.items()]
        escaped = (pattern.replace("{", "<").replace("}", ">") for pattern in self.patterns)
        patterns = " | ".join(f"({pattern})" for pattern in escaped)
        last = f"public <sentence> = {patterns};"
        return "\n".join(["#JSGF V1.0;", "grammar mini;", *rules, last, ""])

    def sentences(self, split: str, rng: np.random.Generator) -> Iterator[str]:
        """Yield sentences of one part endlessly, none twice.

        Example:
            >>> next(WHOLE.sentences("train", np.random.default_rng(0)))  # doctest: +SKIP
            'julia has nine black cups'
        """
        seen: set[str] = set()
        while True:
            text = self._sentence(rng)
            if split_of(text) == split and text not in seen:
                seen.add(text)
                yield text

    def word_groups(self, rng: np.random.Generator) -> Iterator[str]:
        """Yield groups of one to three words in any order, endlessly; they belong to no part.

        Example:
            >>> next(WHOLE.word_groups(np.random.default_rng(0)))  # doctest: +SKIP
            'orange julia has'
        """
        words = self.vocabulary
        while True:
            count = int(rng.integers(1, 4))
            yield " ".join(words[int(rng.integers(len(words)))] for _ in range(count))

    def _sentence(self, rng: np.random.Generator) -> str:
        pattern = self.patterns[int(rng.integers(len(self.patterns)))]
        words = []
        for before, kind, _, _ in string.Formatter().parse(pattern):
            words.append(before)
            if kind:
                words.append(self.words[kind][int(rng.integers(len(self.words[kind])))])
        return "".join(words)


WHOLE = Phrases(_WORDS, _PATTERNS)
# Learnable in minutes: five words of each class, seven numbers, no questions, no commands.
FEW = Phrases(
    {kind: words[: 7 if kind == "number" else 5] for kind, words in _WORDS.items()}, _PATTERNS[:8]
)


def split_of(text: str) -> str:
    """Return the part that a sentence belongs to."""
    return _TENTHS[hashlib.sha256(text.encode()).digest()[0] % len(_TENTHS)]


def _kinds(pattern: str) -> list[str]:
    return [kind for _, kind, _, _ in string.Formatter().parse(pattern) if kind]
