"""Forced alignment: the best of all CTC paths, and errors for texts that do not fit."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from almtok.lm.ctc_alignment import AlignmentError, align

BLANK = 0


def peaks(symbols, size=4):
    """Log-probabilities that are highest for one symbol a frame."""
    return np.log(np.eye(size)[list(symbols)] * 0.8 + 0.05)


def collapsed(path):
    """The text of a path: repeats joined, then blanks left out."""
    return [symbol for symbol, _ in itertools.groupby(path) if symbol != BLANK]


def spans_of(path):
    """First frame and the one after the last, of each run of an id."""
    spans, place = [], 0
    for symbol, run in itertools.groupby(path):
        stop = place + len(list(run))
        if symbol != BLANK:
            spans.append((place, stop))
        place = stop
    return spans


def bounds(spans):
    return [(span.start, span.stop) for span in spans]


def test_ids_are_where_their_probability_is():
    log_probs = peaks([0, 1, 1, 0, 2, 0, 0, 3])
    spans = align(log_probs, [1, 2, 3], BLANK)
    assert bounds(spans) == [(1, 3), (4, 5), (7, 8)]
    assert [span.log_probability for span in spans] == pytest.approx([np.log(0.85)] * 3)


def test_equal_neighbours_are_parted_by_a_blank():
    assert bounds(align(peaks([1, 1, 0, 1]), [1, 1], BLANK)) == [(0, 2), (3, 4)]
    # Without one in the audio, the least costly frame becomes it.
    spans = align(peaks([1, 1, 1, 1]), [1, 1], BLANK)
    assert spans[0].stop < spans[1].start


def test_texts_of_hundreds_of_ids():
    symbols = [0, *itertools.islice(itertools.cycle([1, 0, 2, 3]), 600)]
    text = [symbol for symbol in symbols if symbol]
    assert [span.start for span in align(peaks(symbols), text, BLANK)] == [
        place for place, symbol in enumerate(symbols) if symbol
    ]


@given(
    st.integers(1, 5).flatmap(
        lambda frames: st.tuples(
            st.lists(
                st.lists(st.integers(-12, 0), min_size=3, max_size=3),
                min_size=frames, max_size=frames,
            ),
            st.lists(st.integers(1, 2), min_size=1, max_size=4),
        )
    )
)  # fmt: skip
def test_no_path_of_the_text_is_more_probable(case):
    scores, text = np.array(case[0], dtype=float), case[1]
    paths = itertools.product(range(3), repeat=len(scores))
    valid = [path for path in paths if collapsed(path) == text]
    if not valid:
        with pytest.raises(AlignmentError, match="needs at least"):
            align(scores, text, BLANK)
        return
    spans = align(scores, text, BLANK)
    # Small whole numbers: sums are exact, and ties are possible.
    best = max(sum(scores[t, s] for t, s in enumerate(path)) for path in valid)
    found = [BLANK] * len(scores)
    for symbol, span in zip(text, spans, strict=True):
        found[span.start : span.stop] = [symbol] * (span.stop - span.start)
    assert collapsed(found) == text and spans_of(found) == bounds(spans)
    assert sum(scores[t, s] for t, s in enumerate(found)) == best


def test_texts_that_do_not_fit_are_refused():
    assert align(peaks([0, 1]), [], BLANK) == []
    with pytest.raises(AlignmentError, match="3 ids needs at least 4 frames of audio, got 3"):
        align(peaks([1, 1, 2]), [1, 1, 2], BLANK)
    with pytest.raises(AlignmentError, match="probability zero"):
        align(np.array([[0.0, -np.inf], [0.0, -np.inf]]), [1], BLANK)
    with pytest.raises(ValueError, match=r"without the blank 0, got \[0, 9\]"):
        align(peaks([1, 2, 3]), [0, 1, 9], BLANK)
    with pytest.raises(ValueError, match=r"must be \[T, V\], got \[3\]"):
        align(np.zeros(3), [1], BLANK)
