"""QueryPhones: what it asks for, and that gradients teach the queries and not the listener."""

import pytest
import torch

from almtok.codec.objectives import QueryPhones, recognition_loss


class Fixed:
    """A listener that hears the same phones in every waveform."""

    num_phones = 5

    def __init__(self, frames: int):
        self.said = torch.log_softmax(4 * torch.randn(2, frames, 5), dim=-1)

    def hear(self, wav: torch.Tensor) -> torch.Tensor:
        return self.said


@pytest.mark.parametrize("window", [2, 6, 10])
def test_every_frame_of_a_window_is_asked_at_any_rate(window):
    phones = QueryPhones(8, Fixed(3 * window))
    assert phones.tell(torch.randn(2, 3, 8), window).shape == (2, 3 * window, 5)
    assert phones(torch.randn(2, 3, 8), torch.randn(2, 1, 9), window) > 0


def test_the_loss_is_the_divergence_and_vanishes_when_the_same_is_told(monkeypatch):
    phones = QueryPhones(8, listener := Fixed(12))
    monkeypatch.setattr(phones, "tell", lambda queries, window: listener.said + 3.0)
    assert abs(float(phones(torch.randn(2, 2, 8), torch.randn(2, 1, 9), 6))) < 1e-5
    flat = torch.zeros(2, 12, 5)
    monkeypatch.setattr(phones, "tell", lambda queries, window: flat)
    want = (listener.said.exp() * (listener.said + torch.log(torch.tensor(5.0)))).sum(-1).mean()
    torch.testing.assert_close(phones(torch.randn(2, 2, 8), torch.randn(2, 1, 9), 6), want)


def test_queries_are_taught_and_can_learn_it():
    torch.manual_seed(0)
    phones = QueryPhones(16, Fixed(12))
    queries = torch.randn(2, 2, 16, requires_grad=True)
    wav = torch.randn(2, 1, 9)
    optimizer = torch.optim.Adam([queries, *phones.parameters()], 0.03)
    first = float(phones(queries, wav, 6).detach())
    for _ in range(200):
        optimizer.zero_grad()
        phones(queries, wav, 6).backward()
        optimizer.step()
    assert float(phones(queries, wav, 6)) < 0.3 * first


def test_the_listener_is_no_part_of_what_is_trained_or_saved():
    from almtok.codec.phones import Listener, ListenerConfig

    phones = QueryPhones(8, Listener(ListenerConfig(width=16)))
    assert {name.split(".")[0] for name in phones.state_dict()} == {"look", "say"}
    assert {name.split(".")[0] for name, _ in phones.named_parameters()} == {"look", "say"}


def test_recognition_vanishes_for_the_same_sound_and_teaches_the_output_alone():
    from almtok.codec.phones import Listener, ListenerConfig

    torch.manual_seed(0)
    listener = Listener(ListenerConfig(width=16)).eval().requires_grad_(False)
    target = 0.1 * torch.randn(2, 1, 4800)
    output = target.clone().requires_grad_()
    assert float(recognition_loss(listener, output, target)) == pytest.approx(0.0, abs=1e-6)
    other = (0.1 * torch.randn(2, 1, 4800)).requires_grad_()
    loss = recognition_loss(listener, other, target)
    loss.backward()
    assert float(loss.detach()) > 0 and float(other.grad.norm()) > 0
    assert all(parameter.grad is None for parameter in listener.parameters())
