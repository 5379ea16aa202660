"""Sentences of the grammar: every slot is known, and the sentences are many and varied."""

import re

import numpy as np
import pytest

from almtok.lm.synthesis import grammar
from almtok.lm.synthesis.values import VALUES
from almtok.lm.text.normalize import normalize, plain

pytest.importorskip("wordfreq")


def test_every_slot_is_a_rule_a_class_or_a_value():
    rules, words = grammar._grammar(), grammar._words()
    assert not set(rules) & set(words) and not set(VALUES) & ({*rules} | {*words})
    used = {"sentence"}
    for rule in rules.values():
        for text in rule.texts:
            assert text.count("[") == text.count("]") and text.count("{") == text.count("}")
            for name, form in re.findall(r"\{([\w-]+)(?:\.(\w+))?\}", text):
                assert name in rules or name in words or name in VALUES, (name, text)
                assert not form or (name in words and form in grammar._FORMS), (name, form)
                used.add(name)
    assert used >= {*rules, *words, *VALUES}, "nothing is unused"
    assert sum(len(rule.texts) for rule in rules.values()) > 350
    assert sum(map(len, words.values())) > 5000


@pytest.mark.parametrize(
    ("word", "forms"),
    [
        ("carry", ["carries", "carried", "carried", "carrying"]),
        ("stop", ["stops", "stopped", "stopped", "stopping"]),
        ("play", ["plays", "played", "played", "playing"]),
        ("bake", ["bakes", "baked", "baked", "baking"]),
        ("agree", ["agrees", "agreed", "agreed", "agreeing"]),
        ("wash", ["washes", "washed", "washed", "washing"]),
        ("repair", ["repairs", "repaired", "repaired", "repairing"]),
        ("fix", ["fixes", "fixed", "fixed", "fixing"]),
        ("take/takes/took/taken/taking", ["takes", "took", "taken", "taking"]),
    ],
)
def test_forms_of_verbs(word, forms):
    assert [grammar._inflect(word, form) for form in ("s", "ed", "en", "ing")] == forms


def test_sentences_are_varied_and_a_function_of_the_seed():
    made = grammar.make_sentences(3000, 5)
    assert made[:200] == grammar.make_sentences(200, 5)
    assert made[:200] != grammar.make_sentences(200, 6)
    assert len(set(made)) == 3000
    lengths = np.array([len(text.split()) for text in made])
    assert lengths.min() == 1 and lengths.max() > 25 and lengths.max() <= grammar.MOST_WORDS
    assert (lengths <= 4).mean() > 0.07 and (lengths >= 15).mean() > 0.1
    vocabulary = {word for text in made for word in plain(normalize(text)).split()}
    assert len(vocabulary) > 3000
    for sign in ("?", "!", '"', "$", "%", ":", ","):
        assert sum(sign in text for text in made) > 20, sign


def test_sentences_are_written_as_english_is():
    for text in grammar.make_sentences(2000, 1):
        assert re.match(r'"?[A-Z0-9$£€]', text), text
        assert re.search(r'[.!?]"?$', text), text
        assert not re.search(r"[{}\[\]|]|  | [.,;!?]|(?<!m)[.,;]{2}|\ba [aeio]", text), text
        assert plain(normalize(text)), text
