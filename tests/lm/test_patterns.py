"""Patterns: apply and revert are inverse, for any number of codebooks and frames."""

import pytest
import torch

from almtok.lm.patterns import layout

from .toy import PATTERNS, toy_codes, toy_config


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("num_codebooks", [1, 2, 3, 8])
@pytest.mark.parametrize("count", [0, 1, 2, 13])
def test_revert_undoes_apply(pattern, num_codebooks, count):
    plan = layout(toy_config(pattern=pattern, num_codebooks=num_codebooks))
    codes = toy_codes(count, num_codebooks=num_codebooks)
    rows = plan.apply(codes)
    assert len(rows) == plan.num_rows(count)
    assert torch.equal(plan.revert(rows), codes)
    assert (rows[:, 0] == plan.end).sum() == 1
    assert rows[plan.end_row(count), 0] == plan.end
    # Streams are where the plan says they are, and nowhere else.
    for r, row in enumerate(rows.tolist()):
        held = tuple(k for k, code in enumerate(row) if code < plan.end)
        assert held == plan.streams(r, count)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_beginning_is_the_beginning_of_the_whole(pattern):
    plan = layout(toy_config(pattern=pattern))
    codes = toy_codes(10)
    whole, start = plan.apply(codes), plan.apply(codes[:, :6], ended=False)
    assert torch.equal(start, whole[: len(start)])
    assert len(start) == plan.end_row(6)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_rows_that_were_cut_short_revert_to_whole_frames(pattern):
    plan = layout(toy_config(pattern=pattern))
    codes = toy_codes(10)
    rows = plan.apply(codes)
    for cut in range(len(rows)):
        kept = plan.revert(rows[:cut])
        assert torch.equal(kept, codes[:, : kept.shape[1]])
        assert kept.shape[1] <= cut
    assert plan.revert(rows[: plan.num_rows(7) - 1]).shape[1] >= 6


def test_the_layouts_are_what_their_names_say():
    codes = torch.tensor([[1, 2], [3, 4], [5, 6]])
    end, no = 16, 17
    expected = {
        "depth": [[1, 3, 5], [2, 4, 6], [end, no, no]],
        "depth_delay": [[1, no, no], [2, 3, 5], [end, 4, 6]],
        "parallel": [[1, 3, 5], [2, 4, 6], [end, no, no]],
        "delay": [[1, no, no], [2, 3, no], [end, 4, 5], [no, no, 6]],
        "flat": [
            [1, no, no], [no, 3, no], [no, no, 5],
            [2, no, no], [no, 4, no], [no, no, 6], [end, no, no],
        ],
    }  # fmt: skip
    for pattern, rows in expected.items():
        assert layout(toy_config(pattern=pattern)).apply(codes).tolist() == rows


def test_codes_of_another_number_of_streams_are_refused():
    with pytest.raises(ValueError, match=r"\[3, Q\].*\[2, 5\]"):
        layout(toy_config()).apply(toy_codes(5, num_codebooks=2))
