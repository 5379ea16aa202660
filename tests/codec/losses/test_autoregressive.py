"""Depth AR: defect 6 of paper.md 10.1 and the scale pitfall of paper.md 5.1."""

import pytest
import torch

from almtok.codec.losses.autoregressive import AutoregressiveDepth, AutoregressiveDepthConfig

SMALL = AutoregressiveDepthConfig(width=16, num_layers=2, num_heads=2, layer_scale=1.0)


def build(num_codebooks: int = 4) -> AutoregressiveDepth:
    torch.manual_seed(0)
    return AutoregressiveDepth(8, num_codebooks=num_codebooks, config=SMALL)


def test_prediction_depends_on_earlier_items_only() -> None:
    # paper.md 10.1, defect 6: it attended to its own target
    objective = build()
    layers = torch.randn(1, 1, 4, 8, requires_grad=True)
    for step in range(3):  # predicts item step + 2 from items 1 .. step + 1
        prediction = objective.predict(layers)[:, :, step]
        (gradient,) = torch.autograd.grad((prediction * torch.randn(8)).sum(), layers)
        per_item = gradient[0, 0].abs().sum(dim=-1)
        assert (per_item[: step + 1] > 0).all()
        assert float(per_item[step + 1 :].max()) == 0.0


def test_values_of_later_items_do_not_matter() -> None:
    objective, layers = build(), torch.randn(2, 5, 4, 8)
    changed = layers.clone()
    changed[:, :, 2:] = torch.randn(2, 5, 2, 8)
    first, second = objective.predict(layers), objective.predict(changed)
    assert torch.equal(first[:, :, :2], second[:, :, :2])
    assert not torch.equal(first[:, :, 2], second[:, :, 2])


def test_query_steps_and_items_do_not_see_each_other() -> None:
    objective, layers = build(), torch.randn(3, 5, 4, 8)
    torch.testing.assert_close(
        objective.predict(layers)[1:2, 2:3], objective.predict(layers[1:2, 2:3])
    )


def test_target_has_no_gradient_and_the_inputs_have() -> None:
    layers = torch.randn(2, 5, 3, 8, requires_grad=True)
    build(3)(layers).backward()
    per_item = layers.grad.abs().sum(dim=(0, 1, 3))
    assert float(per_item[2]) == 0.0  # the last item is a target only
    assert (per_item[:2] > 0).all()


def test_loss_is_of_order_one_at_any_width_and_scale() -> None:
    # paper.md 5.1: the mean over 256 channels of unit vectors would be about 2 / 256
    for width in (8, 256):
        objective = AutoregressiveDepth(width, num_codebooks=3, config=SMALL)
        for scale in (0.1, 10.0):
            loss = objective(scale * torch.randn(2, 10, 3, width))
            assert float(loss.detach()) == pytest.approx(1.0, abs=5e-2)


def test_shrinking_the_codes_does_not_lower_the_loss() -> None:
    objective, layers = build(), torch.randn(2, 5, 4, 8)
    torch.testing.assert_close(objective(layers), objective(0.1 * layers), rtol=1e-3, atol=0)


def test_cosines_per_step() -> None:
    objective = build(3)
    optimizer = torch.optim.AdamW(objective.parameters(), lr=1e-2)
    first = torch.randn(1, 64, 1, 8)
    layers = torch.cat([first, first.roll(1, -1), torch.randn(1, 64, 1, 8)], dim=2)
    for _ in range(150):  # the second layer follows from the first, the third is only remembered
        optimizer.zero_grad()
        objective(layers).backward()
        optimizer.step()
    report = objective.evaluate(layers)
    assert report.cosines.shape == (2,) and not report.cosines.requires_grad
    assert float(report.cosines[0]) > 0.9
    torch.testing.assert_close(report.loss, objective(layers))


def test_a_dropped_layer_keeps_the_gradient_finite() -> None:
    layers = torch.randn(1, 3, 3, 8)
    layers[:, :, 1] = 0.0
    layers.requires_grad_()
    build(3)(layers).backward()
    assert torch.isfinite(layers.grad).all()
    assert float(layers.grad.abs().max()) < 1e4


def test_errors_name_both_numbers() -> None:
    with pytest.raises(ValueError, match="got 1"):
        AutoregressiveDepth(8, num_codebooks=1)
    with pytest.raises(ValueError, match=r"\[B, Q, 4, D\], got \(1, 2, 3, 8\)"):
        build(4)(torch.zeros(1, 2, 3, 8))
