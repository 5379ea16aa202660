"""One optimiser step after the other: draws, discriminators, averaged weights."""

from collections.abc import Callable

import pytest
import torch

from almtok.codec.train.config import CodecTrainConfig
from almtok.codec.train.step import draw_step
from almtok.codec.train.update import optimizer_step
from almtok.core.data import SegmentBatch
from almtok.core.training.loop import Requests

from .toy import build_state

Make = Callable[..., CodecTrainConfig]
Batch = Callable[..., SegmentBatch]


def copies(named: dict[str, torch.nn.Parameter]) -> dict[str, torch.Tensor]:
    return {name: parameter.detach().clone() for name, parameter in named.items()}


def test_each_step_has_its_own_draw_from_the_codecs_range(
    toy_config: Make, toy_batch: Batch
) -> None:
    config = toy_config("1", discriminator_probability=0.5)
    state = build_state(config)
    reports = [optimizer_step(state, [toy_batch()], Requests()) for _ in range(6)]
    assert [report.draw for report in reports] == [draw_step(config, n, (2, 5)) for n in range(6)]
    assert len({report.draw.frames_per_query for report in reports}) > 1


def test_discriminators_begin_at_their_first_step(toy_config: Make, toy_batch: Batch) -> None:
    config = toy_config("1", adversarial_start=2, discriminator_probability=1.0)
    state = build_state(config)
    for step in range(4):
        before = copies(state.discriminator_parameters)
        report = optimizer_step(state, [toy_batch()], Requests())
        moved = any(
            not torch.equal(value, state.discriminator_parameters[name])
            for name, value in before.items()
        )
        seen = {"adversarial", "feature_matching", "discriminator"} & report.losses.keys()
        assert (moved, len(seen)) == ((True, 3) if step >= 2 else (False, 0)), step


@pytest.mark.parametrize("probability", [0.0, 1.0])
def test_discriminators_move_in_the_steps_that_update_them(
    toy_config: Make, toy_batch: Batch, probability: float
) -> None:
    config = toy_config("1", adversarial_start=0, discriminator_probability=probability)
    state = build_state(config)
    before = copies(state.discriminator_parameters)
    report = optimizer_step(state, [toy_batch()], Requests())
    after = copies(state.discriminator_parameters)
    assert any(not torch.equal(before[n], after[n]) for n in before) is (probability == 1.0)
    assert "adversarial" in report.losses


def test_averaged_weights_follow_every_good_step(toy_config: Make, toy_batch: Batch) -> None:
    state = build_state(toy_config("1", ema_decay=0.15))
    assert state.average is not None
    names = [n.removeprefix("model.") for n in state.generator_parameters if n[:6] == "model."]
    expected = copies({n: state.generator_parameters[f"model.{n}"] for n in names})
    assert state.average.average.keys() == expected.keys()
    for step in range(3):
        assert optimizer_step(state, [toy_batch(seed=step)], Requests()).problem is None
        decay = min(0.15, (1 + step) / (10 + step))
        for name in names:
            weight = state.generator_parameters[f"model.{name}"].detach()
            expected[name] = decay * expected[name] + (1 - decay) * weight
            torch.testing.assert_close(state.average.average[name], expected[name])
    own = copies(state.generator_parameters)
    with state.averaged() as model:
        for name, parameter in model.named_parameters():
            if name in expected:
                torch.testing.assert_close(parameter, expected[name])
    assert all(torch.equal(own[n], p) for n, p in state.generator_parameters.items())
    assert any(not torch.equal(own[f"model.{n}"], expected[n]) for n in names)
