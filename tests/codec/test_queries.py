"""Interleaving and retrieval: the layout of paper.md 2.2, exactly."""

import pytest
import torch

from almtok.codec.queries import (
    interleave_masks,
    interleave_queries,
    num_queries,
    retrieve_frames,
    retrieve_queries,
)


@pytest.mark.parametrize("w", [1, 2, 3, 6, 10])
def test_layout_is_the_papers(w):
    queries = 4
    frames = torch.arange(queries * w).float()[None, :, None]  # frame t holds t
    sequence = interleave_queries(frames, torch.tensor([-7.0]), w)
    assert sequence.shape == (1, queries * (w + 1), 1)
    for t in range(queries * w):
        assert sequence[0, t + t // w, 0] == t  # frame t at t + floor(t / w)
    for i in range(queries):
        assert sequence[0, i * (w + 1) + w, 0] == -7  # query i at i(w+1) + w


@pytest.mark.parametrize("w", [1, 2, 6])
def test_retrieval_returns_the_queries_and_never_a_frame(w):
    # paper.md 10.1, defect 3: frames filled with -1, queries with their number
    count = 5
    sequence = torch.full((2, count * (w + 1), 1), -1.0)
    for i in range(count):
        sequence[:, i * (w + 1) + w] = i
    found = retrieve_queries(sequence, w)
    assert torch.equal(found[..., 0], torch.arange(count).float().expand(2, count))


@pytest.mark.parametrize("query_first", [False, True])
@pytest.mark.parametrize("w", [1, 2, 6])
def test_masks_stand_in_their_block_and_come_back_in_order(w, query_first):
    queries = torch.arange(4).float()[None, :, None] + 100
    sequence = interleave_masks(queries, torch.tensor([-1.0]), w, query_first=query_first)
    at = 0 if query_first else w
    for i in range(4):
        block = sequence[0, i * (w + 1) : (i + 1) * (w + 1), 0]
        assert block[at] == 100 + i
        assert (block == -1).sum() == w
    marked = torch.arange(sequence.shape[1]).float()[None, :, None]
    kept = retrieve_frames(marked, w, query_first=query_first)[0, :, 0].long()
    expected = [p for p in range(4 * (w + 1)) if p % (w + 1) != at]
    assert kept.tolist() == expected


def test_interleave_then_take_the_frames_is_the_identity():
    frames = torch.randn(2, 12, 5)
    sequence = interleave_queries(frames, torch.zeros(5), 3)
    assert torch.equal(retrieve_frames(sequence, 3), frames)


@pytest.mark.parametrize(
    ("samples", "expected"), [(1, 1), (1920, 1), (1921, 2), (120_000, 63), (122_880, 64)]
)
def test_the_tail_gets_a_query_of_its_own(samples, expected):
    assert num_queries(samples, 320, 6) == expected


def test_a_length_that_does_not_divide_is_refused():
    with pytest.raises(ValueError, match="multiple of 3, got 7"):
        interleave_queries(torch.zeros(1, 7, 2), torch.zeros(2), 3)
