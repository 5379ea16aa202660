"""The loss scale of fp16, and a training with it on the CPU, which emulates fp16."""

import math
from pathlib import Path

import pytest
import torch

from almtok.codec.train import step as step_module
from almtok.codec.train.state import build_state
from almtok.codec.train.update import optimizer_step
from almtok.core.training.loop import Requests
from almtok.core.training.loss_scale import LossScale


def test_an_overflow_halves_it_and_patience_doubles_it() -> None:
    scale = LossScale(8.0, patience=2)
    scale.update(math.inf)
    assert scale.value == 4
    scale.update(1.0)
    again = LossScale()
    again.patience = 2
    again.load_state_dict(scale.state_dict())
    again.update(1.0)
    assert again.value == 8 and again.state_dict() == {"value": 8.0, "good_steps": 0}


def test_at_one_there_is_nothing_to_give_up() -> None:
    scale = LossScale(2.0)
    assert scale.overflowed(math.inf) and not scale.overflowed(1.0)
    scale.update(math.nan)
    scale.update(math.nan)
    assert scale.value == 1 and not scale.overflowed(math.nan)


def test_gradients_are_those_of_fp32(toy_config, toy_batch) -> None:
    """Half precision of the Transformers only; the factor is gone when weights move."""
    norms = {}
    for precision in ("fp32", "fp16"):
        state = build_state(toy_config("1", precision=precision, balancer=False))
        report = optimizer_step(state, [toy_batch(4)], Requests())
        assert report.problem is None
        norms[precision] = report.norms["generator"]
    assert norms["fp16"] == pytest.approx(norms["fp32"], rel=0.02)


def test_an_overflow_is_no_bad_step(toy_config, toy_batch, monkeypatch) -> None:
    state = build_state(toy_config("1", precision="fp16"))
    assert state.loss_scale is not None
    before = {name: p.detach().clone() for name, p in state.generator_parameters.items()}
    whole, largest = step_module.micro_step, state.loss_scale.value

    def overflowing(state, wav, seeds, step, draw, domains):
        losses = whole(state, wav, seeds, step, draw, domains)
        if state.loss_scale.value == largest:
            next(p for p in state.generator_parameters.values() if p.grad is not None).grad[:] = (
                torch.inf
            )
        return losses

    monkeypatch.setattr("almtok.codec.train.update.micro_step", overflowing)
    report = optimizer_step(state, [toy_batch(4)], Requests())
    assert report.problem is not None
    assert (state.skipped, state.skipped_in_a_row) == (0, 0)
    assert state.loss_scale.value == largest / 2
    assert all(torch.equal(p, before[name]) for name, p in state.generator_parameters.items())
    assert optimizer_step(state, [toy_batch(4)], Requests()).problem is None


def test_it_comes_back_with_a_checkpoint(toy_config, tmp_path: Path) -> None:
    from almtok.core.training.checkpoint import read_checkpoint, write_checkpoint

    state = build_state(toy_config("1", precision="fp16"))
    assert state.loss_scale is not None
    state.loss_scale.update(math.inf)
    place = write_checkpoint(tmp_path, 1, state.tensors(), state.counters(), 2)
    other = build_state(toy_config("1", precision="fp16"))
    other.load(read_checkpoint(place))
    assert other.loss_scale is not None
    assert other.loss_scale.state_dict() == state.loss_scale.state_dict()
