"""Normalisation of the queries: the batch's statistics in training, running ones after it."""

import torch

from almtok.codec.batch_normalizer import BatchNormalizer


def drifting(step):
    generator = torch.Generator().manual_seed(step)
    return 3 * torch.randn(8, 50, 4, generator=generator) + torch.tensor([5.0, -5.0, 0.0, 1.0])


def test_training_normalises_the_batch_whatever_came_before():
    norm = BatchNormalizer(4).train()
    for x in (drifting(0), drifting(1) * 10 + 100):
        y = norm(x).flatten(0, 1)
        torch.testing.assert_close(y.mean(0), torch.zeros(4), atol=1e-4, rtol=0)
        torch.testing.assert_close(y.var(0, unbiased=False), torch.ones(4), atol=1e-3, rtol=0)


def test_evaluation_uses_the_running_statistics_and_changes_nothing():
    norm = BatchNormalizer(4).train()
    for step in range(100):
        norm(drifting(step))
    norm.eval()
    state = {k: v.clone() for k, v in norm.state_dict().items()}
    x = drifting(1000)
    torch.testing.assert_close(norm(x)[:2], norm(x[:2]))  # rows do not see each other
    assert abs(float(norm(x).mean())) < 0.2
    assert all(torch.equal(v, norm.state_dict()[k]) for k, v in state.items())


def test_the_first_batch_counts_fully():
    norm = BatchNormalizer(4).train()
    x = drifting(0)
    norm(x)
    torch.testing.assert_close(norm.mean, x.flatten(0, 1).mean(0))


def test_a_common_drift_of_the_encoder_has_no_gradient():
    norm = BatchNormalizer(4).train()
    x = drifting(0).requires_grad_()
    (norm(x) * torch.randn(8, 50, 4)).sum().backward()
    assert x.grad.sum(dim=(0, 1)).abs().max() < 1e-3 * x.grad.abs().sum()


def test_float32_under_autocast():
    norm = BatchNormalizer(4).eval()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert norm(drifting(0).bfloat16()).dtype == torch.float32
