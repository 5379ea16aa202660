"""Scores of texts: error rates, word diffs, captions, failures, intervals."""

import jiwer
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from almtok.core.metrics.intervals import format_interval, rate_interval
from almtok.tasks.duration import SpeakingRate, units
from almtok.tasks.evaluation import scores
from almtok.tasks.evaluation.caption_scores import bleu, caption_scores, cider
from almtok.tasks.evaluation.diff import align, word_diff
from almtok.tasks.evaluation.failures import Utterance, failure_table, judge

WORDS = st.lists(st.sampled_from("a b c d".split()), max_size=12)


@settings(max_examples=60)
@given(WORDS.filter(bool), WORDS)
def test_the_diff_has_as_many_errors_as_jiwer_counts(wanted, heard):
    found = align(wanted, heard)
    expected = jiwer.process_words(" ".join(wanted), " ".join(heard))
    assert found.errors == expected.substitutions + expected.deletions + expected.insertions
    assert [word.reference for word in found.words if word.kind != "insertion"] == wanted
    assert [word.hypothesis for word in found.words if word.kind != "deletion"] == heard


def test_a_diff_reads_like_an_edit():
    assert str(word_diff("The cat sat down.", "a cat sat sat")) == (
        "[the -> a] cat sat [down -> sat]"
    )
    assert str(word_diff("one two", "two three")) == "[-one-] two [+three+]"
    assert word_diff("", "").rate == 0
    assert word_diff("one", "").rate == 1


def test_wer_is_over_the_corpus_and_forgives_what_whisper_forgives():
    wer = scores.error_rate(["Mr. Lee said twenty one!", "yes"], ["mister lee said 21", "no"])
    assert wer.mean == pytest.approx(1 / 5)
    assert wer.low <= wer.mean <= wer.high
    assert scores.error_rate(["abcd"], ["abce"], characters=True).mean == pytest.approx(1 / 4)


def test_words_are_compared_in_their_language():
    spoken = "es kostet fünfundzwanzig euro"
    assert scores.text_errors("Es kostet 25 Euro.", spoken, language="de").errors == 0
    assert scores.text_errors("Es kostet 25 Euro.", spoken, language="German").errors == 0
    assert scores.text_errors("Es kostet 25 Euro.", spoken).errors > 0
    assert (
        scores.text_errors("20 € le 1er mai", "vingt euros le premier mai", language="fr").errors
        == 0
    )
    # Of a language without a normaliser, and of other letters than its own, as they are written.
    assert scores.text_errors("5 dagen", "5 dagen!", language="nl").errors == 0
    assert scores.text_errors("gut", "好", language="de").errors == 1
    both = scores.error_rate(["2 Euro", "2 cats"], ["zwei euro", "two cats"], language=["de", "en"])
    assert both.mean == 0


def test_an_empty_reference_counts_what_came_as_extra():
    errors = scores.text_errors("(laughs)", "yes no")
    assert (errors.insertions, errors.size) == (2, 0)


def test_without_jiwer_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "jiwer", None)
    with pytest.raises(ModuleNotFoundError, match="eval"):
        scores.error_rate(["a"], ["a"])


def test_rates_refuse_what_has_no_rate():
    with pytest.raises(ValueError, match="sum to 0"):
        rate_interval([1.0], [0.0])
    with pytest.raises(ValueError, match="one number of errors"):
        rate_interval([1.0, 2.0], [1.0])
    with pytest.raises(ValueError, match="hypotheses must be 2, as the references, got 1"):
        scores.error_rate(["a", "b"], ["a"])
    assert format_interval(rate_interval([1, 0], [10, 10])) == "5.0 [0.0, 10.0]"


def test_captions_are_best_when_they_are_the_reference():
    wanted = ["a dog barks twice", "rain on a tin roof", "a slow piano waltz"]
    best = caption_scores(wanted, wanted)
    assert [(score.name, score.value.mean) for score in best] == [
        ("bleu", pytest.approx(1.0)),
        ("cider", pytest.approx(10.0)),
    ]
    assert cider(wanted, wanted) == pytest.approx([10.0] * 3)
    mixed = ["a dog barks", "a piano", "the wind"]
    assert 0 < bleu(mixed[0], wanted[0]) < 1
    found = cider(mixed, wanted)
    assert found[0] > found[1] and found[2] == 0
    assert bleu("", "a dog") == 0


TEXT = "the old man walked slowly down the long road to the sea"


def utterance(heard, seconds=None, ended=True, text=TEXT):
    seconds = 0.085 * units(text) if seconds is None else seconds
    return Utterance(text=text, transcript=heard, seconds=seconds, ended=ended)


@pytest.mark.parametrize(
    ("made", "kinds"),
    [
        (utterance(TEXT), ()),
        (utterance(TEXT.replace("old", "cold")), ()),
        (utterance(TEXT, ended=False), ("no_stop",)),
        (utterance(""), ("silent",)),
        (utterance("the old man walked slowly down"), ("early_stop",)),
        (utterance("the old road to the sea"), ("skip",)),
        (utterance(TEXT + " to the sea to the sea"), ("repeat",)),
        (utterance(TEXT, seconds=30.0), ("tempo",)),
        (utterance("yes", text="no"), ()),
    ],
)
def test_failures_have_names(made, kinds):
    assert judge(made).kinds == kinds


def test_a_text_that_repeats_itself_is_no_failure():
    song = "row row row your boat"
    assert not judge(utterance(song, text=song)).failed


def test_failures_are_counted_by_length():
    made = [utterance(TEXT), utterance(""), utterance("yes", text="yes")]
    short, middle, all_of_them = failure_table(made)
    assert (short.words, short.rate.mean) == ((1, 3), 0.0)
    assert (middle.rate.mean, middle.by_kind["silent"]) == (0.5, 0.5)
    assert all_of_them.rate.n == 3


def test_bounds_of_a_text_hold_people_and_stop_run_aways():
    least, most = SpeakingRate().bounds("Author of the danger trail, Philip Steels, etc.")
    assert least < 2.5 < 3.6 < most < 15
    measured = SpeakingRate.measured([("abcdefghij", 1.0), ("abcde", 0.4)])
    assert measured.quickest < 0.08 < 0.1 < measured.slowest
    assert units("早上好") == 9
    # A word alone is not over as quickly as in a sentence, and one letter neither.
    assert SpeakingRate().bounds("of")[0] == SpeakingRate().bounds("I")[0] == 0.3
    with pytest.raises(ValueError, match="0 <= shortest <= pause"):
        SpeakingRate(shortest=3.0)
    with pytest.raises(ValueError, match="at least once, got none"):
        SpeakingRate.measured([("...", 1.0)])
