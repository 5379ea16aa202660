"""Draws depend on seed and step only, and are what they say."""

from collections import Counter

import pytest

from almtok.codec.train.config import stage1
from almtok.codec.train.step import draw_step
from almtok.core.training.seeding import draw_int, draw_unit, lr_scale


def test_a_draw_has_no_memory() -> None:
    config = stage1(seed=3)
    forwards = [draw_step(config, step, (2, 10)) for step in range(20)]
    backwards = [draw_step(config, step, (2, 10)) for step in reversed(range(20))]
    assert forwards == backwards[::-1]
    assert draw_int(0, "a", 1) != draw_int(1, "a", 1) != draw_int(0, "b", 1)


def test_windows_are_uniform_over_the_range_both_ends_included() -> None:
    config = stage1()
    counts = Counter(draw_step(config, step, (2, 10)).frames_per_query for step in range(9000))
    assert sorted(counts) == list(range(2, 11))
    assert all(abs(count - 1000) < 150 for count in counts.values())


def test_discriminators_are_updated_as_often_as_configured() -> None:
    config = stage1(discriminator_probability=0.25)
    updates = sum(draw_step(config, step, (2, 3)).update_discriminators for step in range(4000))
    assert abs(updates / 4000 - 0.25) < 0.03
    assert all(0 <= draw_unit(5, "x", step) < 1 for step in range(100))


@pytest.mark.parametrize(("schedule", "middle"), [("cosine", 0.55), ("exponential", 0.1**0.5)])
def test_learning_rate_warms_up_and_falls_to_its_floor(schedule: str, middle: float) -> None:
    config = stage1(schedule=schedule, warmup_steps=10, steps=110, lr_floor=0.1)
    assert lr_scale(config, 0) == pytest.approx(0.1)
    assert lr_scale(config, 9) == lr_scale(config, 10) == pytest.approx(1.0)
    assert lr_scale(config, 60) == pytest.approx(middle)
    assert lr_scale(config, 110) == pytest.approx(0.1)


def test_a_constant_rate_does_not_depend_on_the_length() -> None:
    short = stage1(schedule="constant", warmup_steps=4, steps=10)
    long = stage1(schedule="constant", warmup_steps=4, steps=1000)
    assert [lr_scale(short, n) for n in range(10)] == [lr_scale(long, n) for n in range(10)]
