"""Optimiser states as flat tensors, clipping, averaged weights."""

import pytest
import torch
from torch import nn

from almtok.core.training import optimizer as optim
from almtok.core.training.ema import WeightAverage


def made() -> tuple[nn.Module, torch.optim.AdamW]:
    torch.manual_seed(0)
    module = nn.Linear(3, 2)
    named = dict(module.named_parameters())
    return module, optim.make_adamw(named, lr=0.1, betas=(0.8, 0.99), weight_decay=0.1)


def walk(module: nn.Module, optimizer: torch.optim.Optimizer, steps: int) -> None:
    for step in range(steps):
        optimizer.zero_grad()
        module(torch.full((1, 3), 1.0 + step)).square().sum().backward()
        optimizer.step()


def test_flat_states_continue_bit_for_bit() -> None:
    one, first = made()
    walk(one, first, 3)
    flat = optim.flatten_state(first, dict(one.named_parameters()))
    assert set(flat) == {
        f"{name}.{entry}"
        for name in ("weight", "bias")
        for entry in ("step", "exp_avg", "exp_avg_sq")
    }
    other, second = made()
    other.load_state_dict(one.state_dict())
    optim.restore_state(second, dict(other.named_parameters()), flat)
    walk(one, first, 2)
    walk(other, second, 2)
    assert torch.equal(one.weight, other.weight)
    assert torch.equal(one.bias, other.bias)


class Part(nn.Module):
    """A matrix inside a Transformer by name, and parameters outside."""

    def __init__(self) -> None:
        super().__init__()
        self.transformer = nn.Module()
        self.transformer.layers = nn.ModuleList([nn.Linear(6, 4)])
        self.input = nn.Linear(3, 6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.transformer.layers[0](self.input(x))


def made_muon() -> tuple[nn.Module, optim.MuonWithAdamW]:
    torch.manual_seed(0)
    module = nn.Module()
    module.encoder = Part()
    module.forward = module.encoder.forward  # type: ignore[method-assign]
    named = dict(module.named_parameters())
    adamw = dict(lr=0.1, betas=(0.8, 0.99), weight_decay=0.1)
    return module, optim.make_muon(named, lr=0.02, weight_decay=0.1, adamw=adamw)


def test_muon_moves_matrices_of_transformers_and_adamw_the_rest() -> None:
    module, optimizer = made_muon()
    before = {n: p.detach().clone() for n, p in module.named_parameters()}
    walk(module, optimizer, 1)
    flat = optim.flatten_state(optimizer, dict(module.named_parameters()))
    with_muon = {n.rpartition(".")[0] for n in flat if n.endswith("momentum_buffer")}
    assert with_muon == {"encoder.transformer.layers.0.weight"}
    assert {n.rpartition(".")[0] for n in flat} == set(before)
    assert all(not torch.equal(p, before[n]) for n, p in module.named_parameters())


def test_muon_states_continue_bit_for_bit() -> None:
    one, first = made_muon()
    walk(one, first, 3)
    flat = optim.flatten_state(first, dict(one.named_parameters()))
    other, second = made_muon()
    other.load_state_dict(one.state_dict())
    optim.restore_state(second, dict(other.named_parameters()), flat)
    walk(one, first, 2)
    walk(other, second, 2)
    for a, b in zip(one.parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b)


def test_learning_rates_of_both_parts_follow_the_schedule() -> None:
    _, optimizer = made_muon()
    optim.set_lr(optimizer, 0.5)
    assert {group["lr"] for group in optimizer.param_groups} == {0.05, 0.01}
    assert {group["lr"] for part in optimizer.parts for group in part.param_groups} == {0.05, 0.01}


def test_muon_without_a_transformer_is_refused() -> None:
    adamw = dict(lr=0.1, betas=(0.8, 0.99), weight_decay=0.1)
    named = dict(nn.Linear(3, 2).named_parameters())
    with pytest.raises(ValueError, match="matrices of Transformers, got none"):
        optim.make_muon(named, lr=0.1, weight_decay=0.0, adamw=adamw)


def test_states_of_unknown_parameters_are_refused() -> None:
    module, optimizer = made()
    with pytest.raises(ValueError, match="must be of trained parameters, got 'gone'"):
        values = {"gone.step": torch.ones(())}
        optim.restore_state(optimizer, dict(module.named_parameters()), values)


def test_clipping_scales_to_the_limit() -> None:
    parameters = [nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(1))]
    parameters[0].grad = torch.tensor([3.0, 0.0])
    parameters[1].grad = torch.tensor([4.0])
    norm = optim.gradient_norm(parameters)
    assert norm == pytest.approx(5)
    optim.clip(parameters, norm, 0)
    assert optim.gradient_norm(parameters) == pytest.approx(5)
    optim.clip(parameters, norm, 1)
    assert optim.gradient_norm(parameters) == pytest.approx(1)


def test_a_single_nan_shows_in_the_norm() -> None:
    parameter = nn.Parameter(torch.zeros(3))
    parameter.grad = torch.tensor([0.0, float("nan"), 0.0])
    assert not torch.isfinite(torch.tensor(optim.gradient_norm([parameter])))


def test_averaged_weights_follow_and_are_lent() -> None:
    module = nn.Linear(1, 1, bias=False)
    frozen = nn.Linear(1, 1)
    frozen.requires_grad_(False)
    module.add_module("frozen", frozen)
    nn.init.zeros_(module.weight)
    average = WeightAverage(module, 0.5)
    assert average.state_dict().keys() == {"weight"}
    nn.init.ones_(module.weight)
    average.update(0)  # decay min(0.5, 1 / 10)
    assert float(average.average["weight"]) == pytest.approx(0.9)
    average.update(1000)
    assert float(average.average["weight"]) == pytest.approx(0.95)
    with average.applied():
        assert module.weight.item() == pytest.approx(0.95)
    assert module.weight.item() == 1.0
    with pytest.raises(ValueError, match="between 0 and 1, got 1"):
        WeightAverage(module, 1)
