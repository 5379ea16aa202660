"""The balancer: by hand, independent of scale, batch size and processes, exact in checkpoints."""

import json

import pytest
import torch
from torch import Tensor

from almtok.codec.losses.balancer import Balancer


def linear_losses(wav: Tensor, scales: dict[str, float]) -> dict[str, Tensor]:
    """Losses with a known gradient: the mean over items of the sum of samples, times a scale."""
    return {name: scale * wav.sum(dim=(1, 2)).mean() for name, scale in scales.items()}


def test_one_step_by_hand() -> None:
    x = torch.zeros(2, 1, 4, requires_grad=True)
    balancer = Balancer({"a": 1.0, "b": 3.0})
    losses = {"a": 10.0 * x[:, 0, 0].mean(), "b": 0.2 * x[:, 0, 1].mean()}
    factors = balancer.backward(losses, x)
    # Norms per item are 10 and 0.2; shares 1/4 and 3/4; the mean over two items halves a gradient.
    assert factors == pytest.approx({"a": 0.25 / 10.0, "b": 0.75 / 0.2})
    expected = torch.tensor([0.25, 0.75, 0.0, 0.0]) / 2
    torch.testing.assert_close(x.grad, expected.expand(2, 1, 4))


def test_moving_average_by_hand() -> None:
    balancer = Balancer({"a": 1.0}, decay=0.5)
    for scale in (1.0, 2.0, 4.0):
        x = torch.zeros(1, 1, 1, requires_grad=True)
        factors = balancer.backward({"a": scale * x.sum()}, x)
    # bias-corrected: (4 + 2 / 2 + 1 / 4) / (1 + 1 / 2 + 1 / 4) = 3
    assert factors["a"] == pytest.approx(1 / 3)


def test_the_unit_of_a_loss_does_not_matter() -> None:
    gradients = []
    for unit in (1.0, 1e4):
        x = torch.randn(3, 1, 50, generator=torch.Generator().manual_seed(0)).requires_grad_()
        Balancer({"a": 1.0, "b": 1.0}).backward(
            {"a": unit * x.abs().mean(), "b": x.square().mean()}, x
        )
        gradients.append(x.grad)
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize("steps", [1, 4])
def test_two_processes_with_b_items_do_what_one_with_2b_does(steps: int) -> None:
    scales = {"a": 1.0, "b": 5.0}

    def losses(x: Tensor) -> dict[str, Tensor]:
        return {"a": x.abs().pow(1.5).mean(), "b": 5.0 * x.square().mean()}

    norms: list[Tensor] = []

    def collect(values: Tensor) -> Tensor:  # first pass: remember what each process measured
        norms.append(values)
        return values

    one, two = Balancer(scales, 0.9), [Balancer(scales, 0.9, average=collect) for _ in range(2)]
    for step in range(steps):
        data = torch.randn(4, 1, 30, generator=torch.Generator().manual_seed(step))
        whole = data.clone().requires_grad_()
        one.backward(losses(whole), whole)
        norms.clear()
        states = [balancer.state_dict() for balancer in two]
        for balancer, part in zip(two, data.split(2), strict=True):
            x = part.clone().requires_grad_()
            balancer.backward(losses(x), x)
        mean = torch.stack(norms).mean(dim=0)
        halves = []
        for balancer, state, part in zip(two, states, data.split(2), strict=True):
            balancer.load_state_dict(state)
            balancer.average = lambda values, mean=mean: mean
            x = part.clone().requires_grad_()
            balancer.backward(losses(x), x)
            halves.append(x.grad)
            balancer.average = collect
        # Averaging parameter gradients over two processes halves each item's contribution.
        torch.testing.assert_close(torch.cat(halves) / 2, whole.grad, rtol=1e-5, atol=1e-7)


def test_total_norm_is_per_item_whatever_the_batch() -> None:
    for batch in (1, 2, 8):
        x = torch.randn(batch, 1, 40).requires_grad_()
        Balancer({"a": 2.0}, total_norm=3.0).backward({"a": 7.0 * x.square().mean()}, x)
        per_item = batch * x.grad.flatten(1).norm(dim=1)
        assert float(per_item.mean()) == pytest.approx(3.0, rel=1e-4)


def test_zero_gradient_zero_weight_and_missing_losses() -> None:
    x = torch.randn(2, 1, 10).requires_grad_()
    balancer = Balancer({"a": 1.0, "flat": 1.0, "off": 0.0, "later": 5.0})
    losses = {"a": x.mean(), "flat": 0.0 * x.mean(), "off": torch.tensor(float("nan"))}
    factors = balancer.backward(losses, x)
    assert factors["flat"] == 0.0 and factors["off"] == 0.0 and factors["a"] > 0.0
    assert torch.isfinite(x.grad).all()
    # "later" has no share until it comes; "flat" keeps its own.
    assert float(2 * x.grad.flatten(1).norm(dim=1).mean()) == pytest.approx(0.5, rel=1e-5)


def test_a_broken_batch_shows_and_is_forgotten() -> None:
    balancer = Balancer({"a": 1.0})
    for broken in (False, True, False):
        x = torch.ones(1, 1, 4, requires_grad=True)
        factors = balancer.backward({"a": x.sum() * (float("nan") if broken else 1.0)}, x)
        assert torch.isnan(x.grad).any().item() == broken
    assert factors["a"] == pytest.approx(0.5)
    first = Balancer({"a": 1.0})  # also in the very first step, when no norm is known
    x = torch.ones(1, 1, 4, requires_grad=True)
    first.backward({"a": x.sum() * float("nan")}, x)
    assert torch.isnan(x.grad).all() and first.state_dict() == {}


def test_gradient_reaches_the_generator_with_unbalanced_losses_in_one_pass() -> None:
    weight = torch.ones(1, requires_grad=True)
    hidden = weight * torch.ones(2, 1, 4)
    output = hidden.exp()  # exp needs its result in the backward pass: walked once only
    Balancer({"a": 1.0}).backward({"a": output.mean()}, output, unbalanced=5.0 * hidden.mean())
    # d a / d output, rescaled to norm one per item: each of 4 samples 1/2, halved by the mean.
    balanced = float(torch.e) * 2 * 4 * (0.5 / 2)
    assert float(weight.grad) == pytest.approx(balanced + 5.0, rel=1e-5)


def test_state_round_trip_is_exact_also_as_json() -> None:
    weights = {"a": 1.0, "b": 2.0}
    first, second = Balancer(weights, 0.99), Balancer(weights, 0.99)
    for step in range(5):
        x = torch.full((1, 1, 3), 0.1 + step).requires_grad_()
        first.backward({"a": x.pow(3).mean(), "b": x.exp().mean()}, x)
    state = first.state_dict()
    assert all(value.dtype == torch.float64 and value.shape == (2,) for value in state.values())
    as_json = json.loads(json.dumps({name: value.tolist() for name, value in state.items()}))
    second.load_state_dict({name: torch.tensor(v).double() for name, v in as_json.items()})
    second.load_state_dict(state)
    grads = []
    for balancer in (first, second):
        x = torch.full((1, 1, 3), 0.7).requires_grad_()
        balancer.backward(linear_losses(x, {"a": 1.0, "b": 0.3}), x)
        grads.append(x.grad)
    assert torch.equal(*grads)
    with pytest.raises(ValueError, match="'c'"):
        second.load_state_dict({"c": torch.zeros(2)})


def test_errors_name_the_loss() -> None:
    x = torch.zeros(1, 1, 3, requires_grad=True)
    with pytest.raises(ValueError, match="'a' must depend on the output"):
        # paper.md 10.1, defect 7: computed on a detached output
        Balancer({"a": 1.0}).backward({"a": x.detach().sum()}, x)
    with pytest.raises(ValueError, match=r"\['b'\]"):
        Balancer({"a": 1.0}).backward({"b": x.sum()}, x)
    with pytest.raises(ValueError, match="-1"):
        Balancer({"a": -1.0})
    with pytest.raises(ValueError, match="got 1.0"):
        Balancer({"a": 1.0}, decay=1.0)


@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
def test_gradients_of_any_size_are_measured(scale: float) -> None:
    """Squares of float32 would vanish, or become infinite."""
    output = torch.randn(2, 1, 50, requires_grad=True)
    balancer = Balancer({"one": 1.0})
    factors = balancer.backward({"one": scale * output.sum() / 2}, output)
    assert factors["one"] == pytest.approx(1 / (scale * 50**0.5), rel=1e-5)
    assert float(output.grad.flatten(1).norm(dim=1).mean()) == pytest.approx(0.5, rel=1e-4)
