"""Words and sentences in seconds, and subtitles of them."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from almtok.tasks.subtitles import (
    MAX_CHARS,
    MAX_LINES,
    MAX_SECONDS,
    make_cues,
    to_srt,
    to_subtitles,
    to_vtt,
)
from almtok.tasks.word_times import (
    END_MARGIN,
    ONSET_DELAY,
    TimedWord,
    in_order,
    sentences,
    spread_evenly,
    word_bounds,
    words_to_json,
)

RATE = 12.5


def said(text, *, seconds=0.3, gap=0.0, start=0.0):
    """Words of one length, one after another."""
    step = seconds + gap
    return [
        TimedWord(word, start + n * step, start + n * step + seconds, 0.5)
        for n, word in enumerate(text.split())
    ]


def test_a_word_lasts_until_the_next_one_or_a_pause():
    (first, second, third) = word_bounds([(5, 6), (7, 9), (20, 21)], RATE, 3.0)
    assert first == pytest.approx((5 / RATE - ONSET_DELAY, 7 / RATE - ONSET_DELAY))
    assert second == pytest.approx((first[1], 9 / RATE + END_MARGIN))
    assert third == pytest.approx((20 / RATE - ONSET_DELAY, 21 / RATE + END_MARGIN))
    assert word_bounds([(0, 1)], RATE, 0.08) == [(0.0, 0.08)]
    assert word_bounds([], RATE, 1.0) == []


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 3)), min_size=1, max_size=20))
def test_words_of_any_frames_are_in_order_and_inside(steps):
    frames, place = [], 0
    for skipped, length in steps:
        frames.append((place + skipped, place + skipped + length))
        place = frames[-1][1]
    bounds = word_bounds(frames, RATE, place / RATE)
    times = [time for pair in bounds for time in pair]
    assert times == sorted(times) and 0 <= times[0] and times[-1] <= place / RATE
    assert all(end - start > 0.01 for start, end in bounds)


def test_words_without_an_alignment_are_spread_by_their_letters():
    words = spread_evenly(["a", "bcd"], 2.0)
    assert [(word.start, word.end, word.confidence) for word in words] == [
        (0.0, 0.5, 0.0), (0.5, 2.0, 0.0),
    ]  # fmt: skip


def test_overlapping_words_are_put_in_order():
    words = [
        TimedWord("a", 0.0, 1.0, 1.0),
        TimedWord("b", 0.8, 0.9, 1.0),
        TimedWord("c", 2, 4, 1.0),
    ]
    assert [(w.start, w.end) for w in in_order(words, 3.0)] == [(0.0, 1.0), (1.0, 1.0), (2, 3.0)]


def test_sentences_end_with_their_signs_and_at_long_pauses():
    words = [*said("Dr. Lee left. He was"), *said("glad then", start=9.0)]
    assert [one.text for one in sentences(words)] == ["Dr. Lee left.", "He was", "glad then"]
    last = sentences(words)[-1]
    assert (last.start, last.end) == (9.0, words[-1].end)
    assert sentences([]) == []
    facts = words_to_json(words)
    assert [word["word"] for word in facts["words"]] == [word.text for word in words]
    assert [segment["id"] for segment in facts["segments"]] == [0, 1, 2]
    json.dumps(facts)


def test_subtitles_of_two_sentences():
    words = [*said("Ham & eggs."), *said("I <want> them --> now.", start=2.5)]
    assert to_srt(words) == (
        "1\n00:00:00,000 --> 00:00:01,000\nHam & eggs.\n\n"
        "2\n00:00:02,500 --> 00:00:04,000\nI <want> them -> now.\n"
    )
    assert to_vtt(words) == (
        "WEBVTT\n\n00:00:00.000 --> 00:00:01.000\nHam &amp; eggs.\n\n"
        "00:00:02.500 --> 00:00:04.000\nI &lt;want&gt; them --&gt; now.\n"
    )
    assert to_srt([]) == "" and to_vtt([]) == "WEBVTT\n"
    with pytest.raises(ValueError, match="format must be one of srt, vtt, got 'ass'"):
        to_subtitles(words, "ass")


def test_long_sentences_are_cut_after_commas_and_at_pauses():
    text = "when the old dog had walked near the river again, he saw a very happy cat that"
    words = [*said(f"{text} ran past him"), *said("so fast", start=8.0)]
    shown = [" ".join(cue.lines) for cue in make_cues(words)]
    assert shown[0].endswith("again,") and shown[-1] == "so fast"
    assert " ".join(shown) == " ".join(word.text for word in words)


CLOCK = r"(\d{2,}):([0-5]\d):([0-5]\d)[.,](\d{3})"
TEXTS = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=100)


@given(st.lists(st.tuples(TEXTS, st.floats(0, 9), st.floats(0, 2)), max_size=20))
def test_subtitles_of_any_words_are_well_formed(parts):
    words, place = [], 0.0
    for text, length, gap in parts:
        words.append(TimedWord(text, place + gap, place + gap + length, 1.0))
        place += gap + length
    cues = make_cues(words)
    for cue in cues:
        assert 1 <= len(cue.lines) <= MAX_LINES
        assert all(0 < len(line) <= MAX_CHARS for line in cue.lines)
        assert 0 < cue.end - cue.start <= 1000 * MAX_SECONDS
    assert all(one.end <= other.start for one, other in zip(cues, cues[1:], strict=False))
    shown = "".join("".join(cue.lines) for cue in cues).replace(" ", "")
    assert shown == "".join(word.text for word in words)
    for written in (to_srt(words), to_vtt(words)):
        times = re.findall(rf"^{CLOCK} --> {CLOCK}$", written, re.MULTILINE)
        assert len(times) == len(cues) == written.count(" --> ")
        values = [
            ((int(h) * 60 + int(m)) * 60 + int(s)) * 1000 + int(ms)
            for row in times
            for h, m, s, ms in (row[:4], row[4:])
        ]
        assert values == sorted(values)
    assert "<" not in to_vtt(words) and not re.search(r"&(?!amp;|lt;|gt;)", to_vtt(words))
