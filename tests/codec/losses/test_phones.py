"""QueryPhones: what it asks for, and that gradients teach the queries and not the classifier."""

import pytest
import torch

from almtok.codec.losses.phones import QueryPhonemes, recognition_loss


def heard(frames: int) -> torch.Tensor:
    """Log-probabilities of five phones in two recordings."""
    return torch.log_softmax(4 * torch.randn(2, frames, 5), dim=-1)


@pytest.mark.parametrize("window", [2, 6, 10])
def test_every_frame_of_a_window_is_asked_at_any_rate(window):
    phones = QueryPhonemes(8, 5)
    assert phones.predict(torch.randn(2, 3, 8), window).shape == (2, 3 * window, 5)
    assert phones(torch.randn(2, 3, 8), heard(3 * window), window) > 0


def test_the_loss_is_the_divergence_and_vanishes_when_the_same_is_told(monkeypatch):
    phones, said = QueryPhonemes(8, 5), heard(12)
    monkeypatch.setattr(phones, "predict", lambda queries, window: said + 3.0)
    assert abs(float(phones(torch.randn(2, 2, 8), said, 6))) < 1e-5
    flat = torch.zeros(2, 12, 5)
    monkeypatch.setattr(phones, "predict", lambda queries, window: flat)
    want = (said.exp() * (said + torch.log(torch.tensor(5.0)))).sum(-1).mean()
    torch.testing.assert_close(phones(torch.randn(2, 2, 8), said, 6), want)


def test_queries_are_taught_and_can_learn_it():
    torch.manual_seed(0)
    phones, said = QueryPhonemes(16, 5), heard(12)
    queries = torch.randn(2, 2, 16, requires_grad=True)
    optimizer = torch.optim.Adam([queries, *phones.parameters()], 0.03)
    first = float(phones(queries, said, 6).detach())
    for _ in range(200):
        optimizer.zero_grad()
        phones(queries, said, 6).backward()
        optimizer.step()
    assert float(phones(queries, said, 6)) < 0.3 * first


def test_recognition_vanishes_for_the_same_sound_and_teaches_the_output_alone():
    from almtok.codec.phonemes import PhonemeClassifier, PhonemeClassifierConfig

    torch.manual_seed(0)
    phoneme_classifier = (
        PhonemeClassifier(PhonemeClassifierConfig(width=16)).eval().requires_grad_(False)
    )
    target = 0.1 * torch.randn(2, 1, 4800)
    output = target.clone().requires_grad_()
    said = phoneme_classifier.target_log_posteriors(target)
    assert float(recognition_loss(phoneme_classifier, output, said).detach()) == pytest.approx(
        0.0, abs=1e-6
    )
    other = (0.1 * torch.randn(2, 1, 4800)).requires_grad_()
    loss = recognition_loss(phoneme_classifier, other, said)
    loss.backward()
    assert float(loss.detach()) > 0 and float(other.grad.norm()) > 0
    assert all(parameter.grad is None for parameter in phoneme_classifier.parameters())
