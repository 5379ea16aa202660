"""Choices: from the distribution that was asked for, each row by itself."""

import pytest
import torch

from almtok.lm.generation.sampling import (
    GREEDY,
    RowNoise,
    SamplingConfig,
    choose,
    guide,
    per_stream,
)


def draws(logits, config, count=20_000, seed=0, seen=None):
    rows = torch.tensor(logits).expand(count, -1)
    noise = torch.empty(rows.shape).exponential_(generator=torch.Generator().manual_seed(seed))
    ids = choose(rows, config, -noise.log(), None if seen is None else seen.expand(count, -1))
    return torch.bincount(ids, minlength=rows.shape[1]) / count


LOGITS = [2.0, 1.0, 0.5, 0.0, -1.0]


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_temperature(temperature):
    expected = (torch.tensor(LOGITS) / temperature).softmax(-1)
    got = draws(LOGITS, SamplingConfig(temperature=temperature))
    torch.testing.assert_close(got, expected, atol=0.015, rtol=0)


def test_greedy_takes_the_likeliest_without_noise():
    assert choose(torch.tensor([LOGITS]), GREEDY, None).tolist() == [0]
    assert SamplingConfig(top_k=1).greedy and not SamplingConfig().greedy


def test_top_k():
    expected = torch.tensor([*LOGITS[:2], *[-torch.inf] * 3]).softmax(-1)
    got = draws(LOGITS, SamplingConfig(top_k=2))
    torch.testing.assert_close(got, expected, atol=0.015, rtol=0)


@pytest.mark.parametrize("top_k", [0, 4])
def test_top_p_keeps_what_reaches_the_probability(top_k):
    share = torch.tensor(LOGITS[: top_k or None]).softmax(-1)  # of what top-k leaves
    p = float(share[0] + share[1]) + 0.01  # the third is needed to reach it
    expected = torch.tensor([*LOGITS[:3], *[-torch.inf] * 2]).softmax(-1)
    got = draws(LOGITS, SamplingConfig(top_p=p, top_k=top_k))
    torch.testing.assert_close(got, expected, atol=0.015, rtol=0)
    assert draws(LOGITS, SamplingConfig(top_p=1e-6))[0] == 1  # never nothing


def test_the_penalty_divides_the_odds():
    seen = torch.tensor([True, False, False, False, False])
    got = draws(LOGITS, SamplingConfig(repetition_penalty=3.0), seen=seen)
    odds = torch.tensor(LOGITS).exp()
    odds[0] /= 3
    torch.testing.assert_close(got, odds / odds.sum(), atol=0.015, rtol=0)


def test_what_is_forbidden_is_never_drawn():
    got = draws([0.0, -torch.inf, 0.0], SamplingConfig(temperature=9.0, top_p=0.999))
    assert got[1] == 0


def test_noise_depends_on_the_seed_and_the_step_only():
    device = torch.device("cpu")
    many, one = RowNoise([3, 4, 5], 3, 17, device), RowNoise([4], 3, 17, device)
    for _ in range(3):
        assert torch.equal(many.next()[1:2], one.next())
    many.keep([1])
    big = RowNoise([4], 3, 20_000, device)  # blocks of few steps
    for _ in range(3):
        assert torch.equal(many.next(), one.next())
        assert big.next().shape == (1, 3, 20_000)


def test_noise_is_kept_across_blocks():
    device = torch.device("cpu")
    many, one = RowNoise([1, 2], 1, 100_000, device), RowNoise([2], 1, 100_000, device)
    assert torch.equal(many.next()[1], one.next()[0])
    many.keep([1])
    second = one.next()
    assert torch.equal(many.next(), second) and not torch.equal(many.next(), second)


@pytest.mark.parametrize("width", [17, 60_000])  # many steps in a block, or two
def test_noise_of_rows_that_join_later_is_that_of_rows_alone(width):
    device = torch.device("cpu")
    many, alone = RowNoise([3], 1, width, device), RowNoise([9], 1, width, device)
    many.next()
    many.join([9])
    for _ in range(5):
        assert torch.equal(many.next()[1:], alone.next())


@pytest.mark.parametrize(
    "field, value",
    [("temperature", -1.0), ("top_k", -1), ("top_p", 0.0), ("top_p", 1.5),
     ("repetition_penalty", 0.5), ("repetition_window", 0), ("temperature", float("nan"))],
)  # fmt: skip
def test_bad_values_are_refused(field, value):
    with pytest.raises(ValueError, match=f"{field} must be .*got"):
        SamplingConfig(**{field: value})


def test_one_for_all_or_one_for_each():
    assert per_stream(GREEDY, 3) == (GREEDY,) * 3
    assert per_stream([GREEDY, SamplingConfig()], 2)[1] == SamplingConfig()
    with pytest.raises(ValueError, match="or 3, got 1"):
        per_stream([GREEDY], 3)


def test_guidance_moves_away_from_what_is_said_without_condition():
    given, free = torch.tensor([[2.0, 1.5, 1.0]]), torch.tensor([[2.0, 0.0, 0.0]])
    assert guide(given, free, 1.0).tolist() == given.tolist()
    assert guide(given, free, 3.0).tolist() == [[2.0, 4.5, 3.0]]


def test_guidance_stays_among_what_is_plausible():
    # exp(-5) of the likeliest is less than one in fifty; guidance alone would take it.
    given, free = torch.tensor([[5.0, 4.0, 0.0]]), torch.tensor([[5.0, 4.0, -9.0]])
    order = guide(given, free, 4.0)[0].argsort(descending=True)
    assert order.tolist() == [0, 1, 2]
    # Where all that is plausible is forbidden, the rest are numbers yet, in their order.
    rest = guide(torch.tensor([[9.0, 1.0, 2.0]]), torch.tensor([[0.0, 0.0, 0.0]]), 3.0)
    assert torch.isfinite(rest).all() and rest[0, 2] > rest[0, 1]
