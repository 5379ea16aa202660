"""The normalisers, case by case, and what holds for every text."""

import logging
import random
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from almtok.lm.text import normalize as normalizers
from almtok.lm.text.normalize import clean, languages, normalize, plain, register_normalizer
from almtok.lm.text.numbers import cardinal, decimal, ordinal, year

LANGUAGES = {"en": "english", "de": "german", "fr": "french", "es": "spanish"}
# Whatever is read has no other characters.
READ = re.compile(r"[^\W\d_]|[\s.,;:!?'\"()¿¡-]|[\u0300-\u036f]")


def cases(root, name):
    lines = (root / f"tests/lm/text/fixtures/{name}.tsv").read_text(encoding="utf-8").splitlines()
    return [line.split("\t") for line in lines if line and not line.startswith("#")]


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_text_is_written_as_a_person_reads_it_aloud(root, language):
    table = cases(root, LANGUAGES[language])
    assert len(table) >= (400 if language == "en" else 50)
    read = [[written, normalize(written, language)] for written, _ in table]
    assert read == table
    assert [[said, normalize(said, language)] for _, said in table] == [[s, s] for _, s in table]


@pytest.mark.parametrize(
    "text",
    [
        "The quick brown fox jumps over the lazy dog.",
        "She said, \"Don't!\" (twice); he didn't: why not?",
        "a well-known, thirty-three-year-old man",
        "I may go in March, or on Sunday; the sun sat.",
        "naïve café, señor, Żółć",
    ],
)
def test_words_are_left_alone(text):
    assert normalize(text) == text


# ---------------------------------------------------------------------- twenty thousand texts

WORDS = "the cat SAT Dog NASA well-known don't café over Lee FBI rock".split()
AMOUNTS = (
    "5|12|1990|3.5|1,000|0.5|007|2024|1/2|3-5|10:30|20%|$5|$1.50|5 km|3 GB|1st|'90s|v2.0|-7|#3|10th"
    "|9am|3/4/2021|20°C|B2|£3bn|1.5M|4K|c. 1850|Jan. 5|Dr.|e.g.|etc.|U.S.|p. 3|No. 4|R$ 9|&amp;|5%"
    "|19th-20th|Class C|Henry VIII"
).split("|")
SIGNS = [*".,;:!?-–—%/&+*=()[]\"'`~^_|<>@#$€", "...", "--", " - ", ". "]


def made(rng):
    """Words, amounts and signs, with and without spaces, but never two words grown together."""
    text, last = "", " "
    for _ in range(rng.randrange(1, 6)):
        kind = rng.choices((WORDS, AMOUNTS, SIGNS), (5, 3, 2))[0]
        apart = " " if (last is kind and kind is not SIGNS) or rng.random() < 0.6 else ""
        text, last = text + apart + rng.choice(kind), kind
    return text


# A word of the list between spaces or signs: none of the signs that addresses are made of.
ALONE = re.compile(r"(?<![\w.'@/&:-])(the|cat|SAT|Dog|NASA|café|over|FBI|rock)(?![\w.'@/&:-])")


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("language", "count"), [("en", 20_000), ("de", 2_000), ("fr", 2_000), ("es", 2_000)]
)
def test_words_keep_their_spaces_and_nothing_unreadable_is_left(language, count):
    rng = random.Random(0)
    for _ in range(count):
        text = made(rng)
        said = normalize(text, language)
        assert not READ.sub("", said), (text, said)
        assert normalize(said, language) == said, text
        words = re.findall(r"[^\W\d_]+", said)
        for word in ALONE.findall(text):
            assert word in words, (text, said)
        # What has grown together was written so.
        for glued in re.findall(r"[a-zé]+[A-Z]+[a-z]*", said):
            assert glued[-3:] in text, (text, said)


@pytest.mark.parametrize("sign", [".", "-", "%", "$", "&", "/", "'", ",", ":", "#"])
def test_words_beside_a_sign_keep_their_spaces_in_every_case(sign):
    for first in ("the", "The", "THE", "cafés"):
        for second in ("cat", "Cat", "CAT", "over"):
            for between in (f" {sign}", f"{sign} ", f" {sign} "):
                text = first + between + second
                words = re.findall(r"[^\W\d_]+", normalize(text))
                assert first in words and second in words, (text, words)


@pytest.mark.timeout(120)
def test_texts_of_words_alone_do_not_change():
    """Nothing but expansions changes: words, and punctuation between them, stay as they are."""
    rng = random.Random(1)
    words = "the cat Sang on A mat and SAW I the New house café don't well-known of it".split()
    for _ in range(5_000):
        text = " ".join(rng.choice(words) + rng.choice(("", "", "", ",", ";")) for _ in range(8))
        text = text.rstrip(",;") + rng.choice(".!?")
        assert normalize(text) == text


@settings(max_examples=400)
@given(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=50)
    | st.text("0123456789.,:/-$€%°'+x apmkSt#@&()\n", max_size=40),
    st.sampled_from(list(LANGUAGES)),
)
def test_every_text_is_read_or_refused(text, language):
    try:
        said = normalize(text, language)
    except ValueError as error:
        assert "must have Latin letters" in str(error)
        return
    assert not READ.sub("", said)
    assert said == clean(said) == normalize(said, language)


@pytest.mark.timeout(60)  # a second, where no expression tries every way to read them
@pytest.mark.parametrize("language", LANGUAGES)
def test_ten_thousand_characters_take_no_time(language):
    text = "Dr. Lee paid $5.20 for 3 kg on 3/4/2021, www.a.com. " * 190
    assert normalize(text, language).count(" Lee ") == 190
    for hard in (
        "1" * 10_000,
        "1," * 5_000,
        "a." * 5_000,
        "1-" * 5_000,
        "$1" * 5_000,
        " " * 10_000,
    ):
        normalize(hard, language)


# ---------------------------------------------------------------------- what cannot be read


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("Say 中文 now", "'中文' (CJK)"),
        ("Привет", "'Привет' (CYRILLIC)"),
        ("こんにちは", "(HIRAGANA)"),
        ("안녕", "(HANGUL)"),
        ("λόγος", "(GREEK)"),
        ("مرحبا 中", "(ARABIC, CJK)"),
    ],
)
@pytest.mark.parametrize("language", LANGUAGES)
def test_another_script_is_refused_by_name(text, named, language):
    with pytest.raises(ValueError, match=re.escape(named)) as error:
        normalize(text, language)
    assert f"a text in language {language!r} must have Latin letters, got" in str(error.value)
    assert normalize(text, None) == text


def test_pictures_are_left_out_with_a_warning_that_names_them_once(caplog):
    from almtok.lm.text import rules

    rules._warn_of.cache_clear()
    with caplog.at_level(logging.WARNING):
        assert normalize("Good 🎉 morning 🎉!") == "Good morning!"
        assert normalize("again 🎉") == "again"
    assert [record.getMessage() for record in caplog.records] == [
        "'🎉' (party popper) has no words in language 'en': it is left out"
    ]


def test_numbers_in_words():
    assert cardinal(10**14) == "one hundred trillion"
    assert cardinal("9" * 40).split() == ["nine"] * 40
    assert ordinal(40) == "fortieth" and ordinal(9) == "ninth" and ordinal(1000) == "one thousandth"
    assert decimal("-1,000.50") == "minus one thousand point five zero"
    assert year(1000) == "one thousand" and year(1066) == "ten sixty-six"
    assert year(2000) == "two thousand" and year(1905) == "nineteen oh five"
    assert ordinal(91, "fr", "ordinal-masculine") == "quatre-vingt-onzième"
    assert cardinal(81_050, "es") == "ochenta y un mil cincuenta"
    assert cardinal(-21, "de") == "minus einundzwanzig"


def test_a_language_is_registered(monkeypatch):
    monkeypatch.setattr(normalizers, "_NORMALIZERS", dict(normalizers._NORMALIZERS))
    register_normalizer("nl", lambda text: text.replace("&", "en"))
    assert "nl" in languages()
    assert normalize("Max & Moritz", "nl") == normalize("Max & Moritz", "nl-BE") == "Max en Moritz"
    assert all(normalize("a & 2", code) == "a and two" for code in ("en", "en_GB", "English"))
    assert normalize("2 & 3", "de-AT") == "zwei und drei"


def test_an_unknown_language_is_an_error_and_none_only_cleans():
    with pytest.raises(ValueError, match="'xx'.*there are de, en, es, fr"):
        normalize("a", "xx")
    assert normalize(" Dr.\t“5”\n", None) == 'Dr. "5"'
    with pytest.raises(ValueError, match="language code"):
        register_normalizer("German", str)


def test_plain_words_to_compare():
    assert (
        plain("“Well-known,” he said -- isn’t it_so? 'Yes'") == "well-known he said isn't it so yes"
    )
