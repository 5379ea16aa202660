"""The pretended device itself: what it computes, and what it refuses as a real one does."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .pretend_device import Refused, pretend_device


@pytest.fixture
def device():
    with pretend_device() as made:
        yield made


def test_it_computes_what_the_cpu_does_and_gradients_stay_there(device):
    torch.manual_seed(0)
    layer, x = nn.Linear(4, 3), torch.randn(2, 4)
    expected = layer(x)
    there = layer.to(device)(x.to(device))
    assert there.device == device and torch.equal(there.cpu(), expected)
    there.sum().backward()
    assert layer.weight.grad.device == device
    assert there.tolist() == expected.tolist() and float(there[0, 0]) == float(expected[0, 0])
    with torch.autocast(device.type, dtype=torch.bfloat16):
        assert layer(x.to(device)).dtype == torch.bfloat16
    assert torch.tensor([1, 2], device=device).device == device
    assert torch.accelerator.current_accelerator().type == device.type


@pytest.mark.parametrize(
    "mix",
    [
        lambda here, there: here + there,
        lambda here, there: there.add_(here),
        lambda here, there: torch.cat([here, there]),
        lambda here, there: torch.where(here > 0, there, 0.0),
        lambda here, there: here[there > 0],
        lambda here, there: torch.cat([there, here[:1].squeeze()[None]]),
        lambda here, there: torch.stack([there.sum(), here.sum()]),
        lambda here, there: here.sum().add_(there.sum()),
        lambda here, there: there[:1].index_add_(0, torch.tensor([0]), there[:1]),
    ],
)
def test_two_devices_do_not_mix(device, mix):
    with pytest.raises((Refused, RuntimeError)):
        mix(torch.ones(3), torch.ones(3, device=device))


def test_single_numbers_indices_and_copies_may_come_from_the_cpu(device):
    there = torch.ones(3, device=device)
    assert (there * torch.tensor(2.0)).tolist() == [2.0] * 3
    assert there[torch.tensor([0, 1])].tolist() == [1.0] * 2
    there.copy_(torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64))
    there[0] = torch.tensor(5.0)
    assert there.tolist() == [5.0, 2.0, 3.0]


@pytest.mark.parametrize(
    "widen",
    [
        lambda x: x.double(),
        lambda x: x.cpu().double().to(x.device),
        lambda x: x.to("cpu", torch.float64),
        lambda x: torch.zeros(3, dtype=torch.float64, device=x.device),
        lambda x: torch.tensor([1.0], dtype=torch.float64, device=x.device),
        lambda x: x.sum(dtype=torch.float64),
        lambda x: x.to(torch.complex128),
    ],
)
def test_it_has_no_double_precision(device, widen):
    with pytest.raises(Refused, match="float64|complex128"):
        widen(torch.ones(3, device=device))


def test_it_draws_from_no_generator_of_the_cpu(device):
    with pytest.raises(Refused, match="generator"):
        torch.randn(3, device=device, generator=torch.Generator())
    with pytest.raises(Refused, match="generator"):
        torch.ones(3, device=device).normal_(generator=torch.Generator())


def test_it_does_not_know_ctc(device):
    log_probs = torch.zeros(5, 1, 3, device=device)
    with pytest.raises(Refused, match="_ctc_loss"):
        F.ctc_loss(log_probs, torch.ones(1, 2).long().to(device), [5], [2])


def test_numpy_does_not_see_it(device):
    with pytest.raises(TypeError, match="numpy"):
        torch.ones(3, device=device).numpy()


def test_it_is_gone_afterwards():
    with pretend_device():
        assert torch.accelerator.is_available()
    assert not torch.accelerator.is_available() or torch.cuda.is_available()
    x: Tensor = torch.ones(2)
    assert (x + 1).device.type == "cpu"
