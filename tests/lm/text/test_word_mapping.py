"""Written words have the spoken words that they became."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from almtok.lm.text.normalize import normalize, plain
from almtok.lm.text.word_mapping import map_words


def mapped(text):
    spoken = plain(normalize(text)).split()
    runs = map_words(text.split(), spoken, normalize)
    return {
        word: " ".join(spoken[first:stop])
        for word, (first, stop) in zip(text.split(), runs, strict=True)
    }


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("At 12 he left.", {"12": "twelve", "left.": "left"}),
        ("Dr. Lee paid $5!", {"Dr.": "doctor", "Lee": "lee", "$5!": "five dollars"}),
        ("it cost $5.20 million once", {"million": "million dollars", "once": "once"}),
        ("at 5:30 p.m. - or 50% later", {"5:30": "five thirty", "p.m.": "p m", "-": ""}),
        ("2.5 kg of 3,500", {"2.5": "two point five", "kg": "kilograms"}),
        ("12", {"12": "twelve"}),
    ],
)
def test_numbers_and_abbreviations(text, expected):
    assert expected.items() <= mapped(text).items()


WORDS = st.sampled_from(
    "the cat 12 $5 Dr. Lee - & 50% 5:30 p.m. million 3/4/2021 walked, 1st".split()
)


@settings(max_examples=40)
@given(st.lists(WORDS, max_size=12))
def test_runs_follow_one_another_and_leave_nothing_out(words):
    spoken = plain(normalize(" ".join(words))).split()
    runs = map_words(words, spoken, normalize)
    assert len(runs) == len(words)
    place = 0
    for first, stop in runs:
        assert first == place <= stop
        place = stop
    assert not words or place == len(spoken)


def test_a_text_that_has_nothing_in_common_is_shared_out():
    written, spoken = ["x"] * 300, ["y"] * 301
    runs = map_words(written, spoken, str)
    assert runs[0] == (0, 1) and runs[-1][1] == 301
    assert all(1 <= stop - first <= 2 for first, stop in runs)
