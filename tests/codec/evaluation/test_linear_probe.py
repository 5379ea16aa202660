"""Linear probes: planted labels are found, random codes are at chance; pooling of features."""

import numpy as np
import pytest
import torch

from almtok.codec.evaluation.linear_probe import Examples, chance, fit, probe
from almtok.codec.evaluation.probe_features import Frames

PARTS = (torch.arange(60), torch.arange(60, 80), torch.arange(80, 120))


def split(examples):
    return [examples.of_clips(part) for part in PARTS]


def planted(features, labels):
    """120 clips of ten examples each."""
    clips = torch.arange(120).repeat_interleave(10)
    return split(Examples(features, labels, clips))


def one_hot(codes, entries):
    return Frames(codes, 1.0, entries).pooled(len(codes), 1.0)


def test_a_planted_linear_label_is_found():
    torch.manual_seed(0)
    features = torch.randn(1200, 16) * torch.logspace(-3, 3, 16)  # scales do not matter
    labels = (features / torch.logspace(-3, 3, 16) @ torch.randn(16, 5)).argmax(dim=1)
    train, valid, test = planted(features, labels)
    score = probe(train, valid, test, 5)
    assert score.accuracy.mean > 0.95 and score.accuracy.n == 40
    assert (score.train, score.test) == (800, 400)
    assert chance(train, test).mean < 0.4
    assert probe(train, valid, test, 5) == score


def test_a_label_of_one_code_is_found_and_random_codes_are_at_chance():
    torch.manual_seed(0)
    codes = torch.randint(0, 64, (1200, 3))
    known, random = codes[:, 1] % 4, torch.randint(0, 4, (1200,))
    features = one_hot(codes, 64)
    assert probe(*planted(features, known), 4).accuracy.mean > 0.95
    score = probe(*planted(features, random), 4).accuracy
    assert score.low < 0.25 < score.high or abs(score.mean - 0.25) < 0.06


def test_classes_of_equal_shares_have_the_chance_of_guessing():
    labels = torch.arange(1200) % 4
    train, _, test = planted(torch.zeros(1200, 1), labels)
    assert chance(train, test).mean == 0.25


def test_the_map_is_the_minimum():
    """The gradient vanishes: of the cross-entropy and the penalty."""
    torch.manual_seed(0)
    train, _, _ = planted(torch.randn(1200, 4), torch.randint(0, 3, (1200,)))
    found = fit(train, 3, 0.1)
    weight = found.weight.clone().requires_grad_()
    logits = train.features @ weight + found.bias
    loss = torch.nn.functional.cross_entropy(logits, train.labels) + 0.05 * weight.square().sum()
    loss.backward()
    assert weight.grad.abs().max() < 1e-4


def test_pooling_of_vectors():
    frames = Frames(torch.arange(8.0)[:, None], 4.0)
    assert frames.pooled(2, 1.0)[:, 0].tolist() == [1.5, 5.5]
    assert frames.pooled(1, 1.0)[:, 0].tolist() == [1.5]  # what lies behind is left out
    assert frames.mean()[0, 0] == 3.5
    slow = Frames(torch.tensor([[1.0], [2.0]]), 1.0)
    assert slow.pooled(4, 2.0)[:, 0].tolist() == [1, 1, 2, 2]


def test_pooling_of_codes_counts_them():
    frames = Frames(torch.tensor([[0, 1], [2, 1], [2, 2]]), 3.0, 3)
    assert torch.allclose(frames.pooled(1, 1.0).to_dense(), torch.tensor([[1, 0, 2, 0, 2, 1]]) / 3)
    assert frames.pooled(3, 3.0).to_dense().tolist() == [
        [1, 0, 0, 0, 1, 0],
        [0, 0, 1, 0, 1, 0],
        [0, 0, 1, 0, 0, 1],
    ]
    assert np.isclose(float(frames.mean().to_dense().sum()), 2)


@pytest.mark.parametrize("rate", [75.0, 50.0, 7.5, 12.5])
def test_every_window_has_a_frame(rate):
    frames = Frames(torch.ones(int(3 * rate), 2), rate)
    assert torch.allclose(frames.pooled(37, 12.5), torch.ones(37, 2))
