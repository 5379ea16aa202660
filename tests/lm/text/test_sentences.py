"""The splitter: where sentences end, that parts fit, that nothing is lost."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from almtok.lm.text.sentences import split_sentences, split_text


def squeezed(text: str) -> str:
    return "".join(text.split())


@pytest.mark.parametrize(
    "sentences",
    [
        ["One.", "Two!", "Three?"],
        ["Dr. Smith and Mr. J. K. Rowling met Mrs. Jones at St. Mary's.", "They talked."],
        ["It costs $3.50 or 1,234.56 euros.", "Pi is 3.14159."],
        ["He left at 5 p.m. on Friday.", "She arrived at 6 p.m.", "They missed each other."],
        ["The U.S. economy grew.", "So did the U.K.", "Then it stopped."],
        ["Wait... what was that?", "I don't know...", "Nothing."],
        ['"Why?" he asked.', '"Because!" she said.', '"Go home."', "He went."],
        ["Buy apples, pears, etc. and go.", "Bring milk, etc.", "Thanks."],
        ["See fig. 3 and eq. 4, i.e. No. 5 in vol. 2.", "Fine."],
        ["So did I.", "Then we left."],
        ["1. First point.", "2. Second point."],
        ["Visit www.example.com.", "Or mail me@site.org!"],
        ["What?!", "No way!!!", "(Really.)", "Yes."],
        ["他来了。", "你好吗？", "很好！"],
        ["The first line\nwraps here.", "The second"],
        ["Er kam am 3. Oktober, z. B. mit Dr. Weiß.", "Im 21. Jahrhundert bzw. jetzt.", "Gut."],
        ["El Sr. López y la Sra. Ruiz.", "Los EE. UU. en 44 a. C. y hoy.", "Bien."],
        ["M. Dupont et Mme. Petit.", "Ils sont là."],
        ["Is it 1.5?", "No: 2.5!"],
    ],
)  # fmt: skip
def test_sentences_end_where_they_end(sentences):
    assert split_sentences(" ".join(sentences)) == sentences


def test_an_empty_line_ends_a_sentence():
    assert split_sentences("A title\n\nThe text begins\n \t\n and ends") == [
        "A title", "The text begins", "and ends",
    ]  # fmt: skip


@pytest.mark.parametrize("text", ["", " ", "\n\n \t"])
def test_nothing_gives_no_part(text):
    assert split_sentences(text) == split_text(text) == []


def test_a_long_sentence_is_cut_at_clauses_then_words_then_inside():
    sentence = "When the rain had stopped, the children went outside; nobody saw them until dark."
    assert split_text(sentence, max_chars=60, min_chars=0) == [
        "When the rain had stopped, the children went outside;", "nobody saw them until dark.",
    ]  # fmt: skip
    words = "one two three four five six seven eight nine ten eleven twelve"
    parts = split_text(words, max_chars=20, min_chars=0)
    assert " ".join(parts) == words and max(map(len, parts)) <= 20
    amounts = "it is about 25 km from here to Dr. Lee at 10 p.m. and back on 5 May 2021 or so"
    for most in range(25, 60):
        parts = split_text(amounts, max_chars=most, min_chars=0)
        assert not any(part[-1].isdigit() or part.endswith("Dr.") for part in parts), parts
    assert split_text("x" * 25, max_chars=10, min_chars=0) == ["x" * 10, "x" * 10, "x" * 5]


def test_short_sentences_join_their_neighbours():
    text = "Yes. No. I think that we should wait until tomorrow morning. Why?"
    assert split_text(text) == [text]
    assert split_text(text, min_chars=0) == split_sentences(text)
    assert split_text(text, max_chars=58, min_chars=10) == [
        "Yes. No.", "I think that we should wait until tomorrow morning. Why?",
    ]  # fmt: skip


def test_a_letter_keeps_its_accents():
    parts = split_text("e\u0301" * 30, max_chars=15, min_chars=0)
    assert all(part.startswith("e") and part.endswith("\u0301") for part in parts)


def test_ten_thousand_characters():
    text = "The quick brown fox, said Dr. Who, jumps over 3.5 lazy dogs. " * 170
    parts = split_text(text)
    assert squeezed("".join(parts)) == squeezed(text)
    assert max(map(len, parts)) <= 240
    assert all(part.endswith("dogs.") for part in parts)
    assert max(map(len, split_text("y" * 100_000, max_chars=50))) <= 50


@settings(max_examples=300)
@given(
    st.text(
        st.sampled_from(list("aB I.!?…,;:—()\"'\n 1。é\u0301")) | st.characters(), max_size=120
    ),
    st.integers(1, 40),
    st.integers(0, 40),
)
def test_nothing_is_lost_and_everything_fits(text, most, least):
    assert squeezed("".join(split_sentences(text))) == squeezed(text)
    parts = split_text(text, max_chars=most, min_chars=min(least, most))
    assert squeezed("".join(parts)) == squeezed(text)
    assert all(part and part == part.strip() and len(part) <= most for part in parts)


@pytest.mark.parametrize("limits", [(0, 0), (10, 11), (10, -1)])
def test_limits_that_cannot_be_met(limits):
    with pytest.raises(ValueError, match="max_chars"):
        split_text("a", max_chars=limits[0], min_chars=limits[1])
