# ruff: noqa: E501  (a table of cases reads by its rows)
"""The English normaliser, case by case, and what holds for every text."""

import re
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from almtok.lm.text import normalize as normalizers
from almtok.lm.text.english_numbers import cardinal, decimal, ordinal, year
from almtok.lm.text.normalize import clean, languages, normalize, plain, register_normalizer

CASES = {
    # numbers
    "0, 7, 13, 21, 100, 101, 1000": "zero, seven, thirteen, twenty-one, one hundred, one hundred one, one thousand",
    "1,234,567 and 1000000": "one million two hundred thirty-four thousand five hundred sixty-seven"
    " and one million",
    "3.14, .5 and 0.05": "three point one four, point five and zero point zero five",
    "-5 to -2.5": "minus five to minus two point five",
    "1st, 2nd, 3rd, 12th, 20th, 101st": "first, second, third, twelfth, twentieth, one hundred first",
    "1/2, 3/4, 2/3 and 2 1/2": "one half, three quarters, two thirds and two and a half",
    "a waltz in 3/4 time": "a waltz in three four time",
    "½ cup": "one half cup",
    "24/7 and 50-50": "twenty-four seven and fifty fifty",
    "10-20 people": "ten to twenty people",
    "agent 007": "agent zero zero seven",
    "2 + 2 = 4": "two plus two equals four",
    "5k steps, 10x faster, 3x4": "five thousand steps, ten times faster, three by four",
    "10^8 and 1.5e-3": "ten to the power of eight and one point five times ten to the power of minus three",
    "version 2.0.1": "version two point zero point one",
    "٣ apples": "three apples",
    # years and dates
    "in 1999, 1905, 2005 and 2024": "in nineteen ninety-nine, nineteen oh five, two thousand five"
    " and twenty twenty-four",
    "between 1813 and 1816, till, 1808": "between eighteen thirteen and eighteen sixteen,"
    " till, eighteen oh eight",
    "1469, 1470;": "fourteen sixty-nine, fourteen seventy;",
    "1812, 1813 and 1,814": "eighteen twelve, eighteen thirteen and one thousand eight hundred"
    " fourteen",
    "$1469, 70": "one thousand four hundred sixty-nine dollars, seventy",
    "1500 people in 1500": "one thousand five hundred people in fifteen hundred",
    "1939–1945, 1914-18": "nineteen thirty-nine to nineteen forty-five, nineteen fourteen to eighteen",
    "the 1990s, '80s": "the nineteen nineties, eighties",
    "March 15, 2024": "March fifteenth, twenty twenty-four",
    "Jan. 5": "January fifth",
    "15 March 2024": "the fifteenth of March, twenty twenty-four",
    "3/15/2024 and 15/3/2024": "March fifteenth, twenty twenty-four and March fifteenth,"
    " twenty twenty-four",
    "2024-03-15": "March fifteenth, twenty twenty-four",
    "May 2021": "May twenty twenty-one",
    "13/13/2024": "thirteen slash thirteen slash twenty twenty-four",
    # times
    "at 5:30 p.m. He left": "at five thirty p m. He left",
    "at 5 p.m. he left": "at five p m he left",
    "3:00, 3:05am, 15:30": "three o'clock, three oh five a m, fifteen thirty",
    # money
    "$5, $1, $5.50, $0.99": "five dollars, one dollar, five dollars and fifty cents, ninety-nine cents",
    "$1.2 million, £3bn, 5€": "one point two million dollars, three billion pounds, five euros",
    "US$40 or 30 GBP": "forty US dollars or thirty pounds",
    "$5-10 and $5/month": "five to ten dollars and five dollars per month",
    # measures
    "20°C, 5%, 1 km, 3 lbs": "twenty degrees Celsius, five percent, one kilometer, three pounds",
    "100 km/h, 60 mph, 9.8 m/s²": "one hundred kilometers per hour, sixty miles per hour,"
    " nine point eight meters per second squared",
    "10 m², 16GB, 2.4 GHz, 5'10\"": "ten square meters, sixteen gigabytes, two point four gigahertz,"
    " five foot ten",
    "5 ft. tall": "five feet tall",
    # telephones
    "(555) 123-4567": "five five five, one two three, four five six seven",
    "+44 20 7946 0958": "plus four four, two zero, seven nine four six, zero nine five eight",
    "dial 911": "dial nine one one",
    # abbreviations
    "Dr. Lee, Mr. and Mrs. Jones": "Doctor Lee, Mister and Missus Jones",
    "St. John on Main St. in St. Louis": "Saint John on Main Street in Saint Louis",
    "e.g. this, i.e. that, etc.": "for example this, that is that, et cetera.",
    "the U.S. economy of the U.S.": "the U S economy of the U S.",
    "Fig. 3, pp. 4-5, No. 6": "Figure three, pages four to five, Number six",
    "Acme Inc. They": "Acme Incorporated. They",
    # Roman numerals
    "Henry VIII, World War II": "Henry the eighth, World War two",
    "Chapter XIV, King James I": "Chapter fourteen, King James the first",
    "I, C and XL fit Mix IV": "I, C and XL fit Mix IV",
    "King Lear Lost IIII, Part IIII, Part Civil": "King Lear Lost IIII, Part IIII, Part Civil",
    # letters and digits
    "NASA and the FBI": "NASA and the FBI",
    "MP3, F-16, COVID-19, H2O": "MP three, F sixteen, COVID nineteen, H two O",
    # web
    "www.example.com/a_b": "w w w dot example dot com slash a underscore b",
    "https://x.org, then": "x dot org, then",
    "j.doe@mail.co.uk.": "j dot doe at mail dot co dot uk.",
    "Node.js is fast.And": "Node dot js is fast. And",
    # symbols
    "A & B @ home #1 #fun": "A and B at home number one hashtag fun",
    "and/or w/o him/her": "and or without him or her",
    "*bold* <b>x</b> 😀 [y]": "bold x y",
    "no — wait… “what”?": 'no, wait... "what"?',
}  # fmt: skip


@pytest.mark.parametrize("written", CASES)
def test_written_is_spoken(written):
    assert normalize(written) == CASES[written]


@pytest.mark.parametrize("written", CASES)
def test_spoken_stays_spoken(written):
    spoken = normalize(written)
    assert normalize(spoken) == spoken


@pytest.mark.parametrize(
    "text",
    [
        "The quick brown fox jumps over the lazy dog.",
        "She said, \"Don't!\" (twice); he didn't: why not?",
        "a well-known, thirty-three-year-old man",
        "I may go in March, or on Sunday; the sun sat.",
        "naïve café, señor, Żółć, 中文, Привет",
    ],
)
def test_words_are_left_alone(text):
    assert normalize(text) == text


@settings(max_examples=300, deadline=None)
@given(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=50)
    | st.text("0123456789.,:/-$€%°'+x apmkSt#@&()\n", max_size=40)
)
def test_every_text_has_a_spoken_form_without_digits(text):
    spoken = normalize(text)
    assert not re.search("[0-9]", spoken)
    assert spoken == clean(spoken)
    letters = {c for c in clean(text) if unicodedata.category(c) == "Lo" and len(c) == 1}
    kept = unicodedata.normalize("NFKC", spoken)
    assert all(c in spoken or unicodedata.normalize("NFKC", c) in kept for c in letters)


@pytest.mark.timeout(60)  # a second, where no expression tries every way to read them
def test_ten_thousand_characters_take_no_time():
    text = "Dr. Lee paid $5.20 for 3 lbs on 3/4/2021, www.a.com. " * 190
    assert normalize(text).count("Doctor Lee") == 190
    for hard in (
        "1" * 10_000,
        "1," * 5_000,
        "a." * 5_000,
        "1-" * 5_000,
        "$1" * 5_000,
        " " * 10_000,
    ):
        normalize(hard)


def test_numbers_in_words():
    assert cardinal(10**33) == "one decillion"
    assert cardinal("9" * 40).split() == ["nine"] * 40
    assert ordinal(40) == "fortieth" and ordinal(9) == "ninth" and ordinal(1000) == "one thousandth"
    assert decimal("-1,000.50") == "minus one thousand point five zero"
    assert (
        year(1000) == "one thousand"
        and year(1066) == "ten sixty-six"
        and year(2000) == "two thousand"
    )


def test_a_language_is_registered(monkeypatch):
    monkeypatch.setattr(normalizers, "_NORMALIZERS", dict(normalizers._NORMALIZERS))
    register_normalizer("de", lambda text: text.replace("&", "und"))
    assert "de" in languages()
    assert normalize("Max & Moritz", "de") == normalize("Max & Moritz", "de-AT") == "Max und Moritz"
    assert normalize("colour & 2", "en_GB") == "colour and two"


def test_an_unknown_language_is_an_error_and_none_only_cleans():
    with pytest.raises(ValueError, match="'xx'.*there are en"):
        normalize("a", "xx")
    assert normalize(" Dr.\t“5”\n", None) == 'Dr. "5"'
    with pytest.raises(ValueError, match="language code"):
        register_normalizer("German", str)


def test_plain_words_to_compare():
    assert (
        plain("“Well-known,” he said -- isn’t it_so? 'Yes'") == "well-known he said isn't it so yes"
    )
