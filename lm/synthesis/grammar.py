"""English sentences of a grammar: numbers, dates, names, questions, dialogue, commands, and so on.

``english_grammar.txt`` has the templates, ``english_words.txt`` words with their irregular forms,
and abstract nouns, adjectives, adverbs and verbs come from the word list of wordfreq, by their
endings. The sentences are grammatical, and most of them mean little: they are for the sounds, words
and intonation of English, and not for its meaning.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files

import numpy as np

from .values import VALUES

MOST_WORDS = 30
_WORDFREQ = 40_000  # most frequent words of wordfreq that are looked at
# A slot {name} or {class.form}, or alternatives without brackets inside [a|b].
_SLOT = re.compile(r"\{([\w-]+)(?:\.(\w+))?\}|\[([^\[\]]*)\]")
_RULE = re.compile(r"([\w-]+)(?: (\d+))? = (.+)")
_CLASS = re.compile(r"([\w-]+): (.+)")
_VOWEL = re.compile(
    r"\b([Aa]) (?=[aeiouAEIOU]|hour|honest|heir)(?!uni|use|euro|Euro|one\b|ukulele)"
)
# Begins of sentences, which get a capital.
_START = re.compile(r'(^|[.!?] |[.!?,"] "|^")([a-z])')
_ENDINGS = {
    "abstract-noun": ("tion", "sion", "ment", "ness", "ity", "ance", "ence", "ship", "hood",
                      "dom", "ure", "ology", "graphy", "acy", "ude"),
    "open-adjective": ("ful", "ous", "ive", "able", "ible", "ical", "less", "ional", "istic"),
    "open-adverb": ("fully", "ously", "ively", "ably", "ibly", "ically", "ently", "antly", "ally"),
}  # fmt: skip
_VERB_ENDINGS = ("ate", "ize", "ify", "ute", "ect", "ine", "ain", "ish", "uce", "ound", "ort")
# Parts of words that a corpus of neutral sentences does not need.
_UNWANTED = re.compile(
    "sex|rape|raci|porn|nazi|slut|terror|suicid|murder|genit|erot|homo|islam|jew|christ|muslim"
    "|prostit|mastur|molest|ejac|castrat|execut|tortur|gay|lesb|nud|virgin|fasc|damn"
)


@dataclass(frozen=True)
class _Rule:
    texts: Sequence[str]
    ends: np.ndarray  # cumulated weights, the last is 1

    def draw(self, rng: np.random.Generator) -> str:
        return self.texts[int(np.searchsorted(self.ends, rng.random(), side="right"))]


def make_sentences(count: int, seed: int) -> list[str]:
    """Make different sentences of 1 to 30 words.

    The first sentences of a larger count are those of a smaller one.

    Raises:
        ImportError: wordfreq is not installed; the message names the command.
    """
    found: dict[str, None] = {}
    for sentence in sentences(seed):
        found[sentence] = None
        if len(found) >= count:
            break
    return list(found)


def sentences(seed: int) -> Iterator[str]:
    """Yield sentences endlessly; short ones repeat."""
    rules, words = _grammar(), _words()
    number = 0
    while True:
        rng = np.random.default_rng([seed, number])
        number += 1
        text = _finish(_expand("{sentence}", rules, words, rng))
        if len(text.split()) <= MOST_WORDS:
            yield text


def _expand(
    text: str,
    rules: Mapping[str, _Rule],
    words: Mapping[str, Sequence[str]],
    rng: np.random.Generator,
) -> str:
    """Replace slots and alternatives until none is left."""

    def replace(match: re.Match[str]) -> str:
        name, form, alternatives = match.groups()
        if alternatives is not None:
            options = alternatives.split("|")
            return options[int(rng.integers(len(options)))]
        if name in rules:
            return rules[name].draw(rng)
        if name in VALUES:
            return VALUES[name](rng)
        chosen = words[name][int(rng.integers(len(words[name])))]
        return _inflect(chosen, form)

    while _SLOT.search(text):
        text = _SLOT.sub(replace, text)
    return text


_FORMS = {None: 0, "s": 1, "ed": 2, "en": 3, "ing": 4}


def _inflect(word: str, form: str | None) -> str:
    """A form of a word with or without irregular forms after slashes.

    Example:
        >>> _inflect("knife/knives", "s"), _inflect("carry", "ed"), _inflect("stop", "ing")
        ('knives', 'carried', 'stopping')
    """
    forms = word.split("/")
    base, place = forms[0], _FORMS[form]
    if place < len(forms):
        return forms[place]
    if form == "s":
        if base.endswith(("s", "x", "z", "ch", "sh")) or base in _PLURAL_ES:
            return f"{base}es"
        return f"{base[:-1]}ies" if re.search("[^aeiou]y$", base) else f"{base}s"
    if base.endswith("e") and not (form == "ing" and base.endswith("ee")):
        return f"{base[:-1]}ing" if form == "ing" else f"{base}d"
    if form != "ing" and re.search("[^aeiou]y$", base):
        return f"{base[:-1]}ied"
    if re.fullmatch("[^aeiou]*[aeiou][bdgklmnprt]", base) and base not in _NOT_DOUBLED:
        base += base[-1]
    return base + ("ing" if form == "ing" else "ed")


_PLURAL_ES = ("potato", "tomato", "hero", "mosquito", "buffalo", "volcano", "mango", "go", "echo")
_NOT_DOUBLED = ("soak",)


def _finish(text: str) -> str:
    """Articles, spaces and capitals."""
    text = " ".join(text.split())
    text = re.sub(r" ([.,;!?])", r"\1", text)
    text = re.sub(r"([.,;!?])(?=[.,;]$)", "", text)
    text = _VOWEL.sub(r"\1n ", text)
    return _START.sub(lambda match: match[1] + match[2].upper(), text)


def _lines(name: str) -> Iterator[str]:
    for line in files(__package__).joinpath(name).read_text(encoding="utf-8").splitlines():
        if line.strip() and not line.startswith("#"):
            yield line


@functools.cache
def _grammar() -> Mapping[str, _Rule]:
    found: dict[str, list[tuple[str, float]]] = {}
    for line in _lines("english_grammar.txt"):
        match = _RULE.fullmatch(line)
        assert match, f"not a rule: {line}"
        found.setdefault(match[1], []).append((match[3], float(match[2] or 1)))
    rules = {}
    for name, alternatives in found.items():
        weights = np.cumsum([weight for _, weight in alternatives])
        rules[name] = _Rule([text for text, _ in alternatives], weights / weights[-1])
    return rules


@functools.cache
def _words() -> Mapping[str, Sequence[str]]:
    words = {}
    for line in _lines("english_words.txt"):
        match = _CLASS.fullmatch(line)
        assert match, f"not a class of words: {line}"
        words[match[1]] = [word.replace("-", " ") for word in match[2].split()]
    return {**words, **_open_classes()}


def _open_classes() -> dict[str, list[str]]:
    """Nouns, adjectives, adverbs and regular verbs among the frequent words of English."""
    try:
        from wordfreq import top_n_list
    except ImportError as error:
        raise ImportError("the sentences need wordfreq: pip install wordfreq") from error
    frequent = [
        word
        for word in top_n_list("en", _WORDFREQ)
        if len(word) > 4 and word.isascii() and word.isalpha() and not _UNWANTED.search(word)
    ]
    known = set(frequent)
    classes = {
        name: [word for word in frequent if word.endswith(endings) and len(word) > 6]
        for name, endings in _ENDINGS.items()
    }
    classes["open-verb"] = [
        word
        for word in frequent
        if word.endswith(_VERB_ENDINGS)
        and {_inflect(word, form) for form in ("s", "ed", "ing")} <= known
    ]
    return classes
