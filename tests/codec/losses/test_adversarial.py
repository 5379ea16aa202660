"""Adversarial and feature-matching losses: values by hand and whom each one trains."""

import pytest
import torch
from torch import nn

from almtok.codec.losses.adversarial import (
    discriminator_loss,
    feature_matching_loss,
    generator_adversarial_loss,
)
from almtok.codec.losses.discriminators import (
    DiscriminatorOutput,
    MelDiscriminators,
    MelDiscriminatorsConfig,
)

TOY = MelDiscriminatorsConfig(hop_lengths=(64, 256), channel_divisor=16)


def output(*logits: float, feature: float = 1.0) -> DiscriminatorOutput:
    return DiscriminatorOutput(
        torch.tensor(logits).reshape(1, 1, 1, -1), (torch.full((1, 2, 2, 2), feature),)
    )


def test_values_by_hand() -> None:
    real, fake = [output(2.0, 0.0)], [output(-2.0, 0.5)]
    assert float(generator_adversarial_loss(fake)) == pytest.approx((3.0 + 0.5) / 2)
    assert float(discriminator_loss(real, fake)) == pytest.approx(0.5 + 0.75)
    assert float(generator_adversarial_loss(fake, "least_squares")) == pytest.approx(4.625)
    assert float(discriminator_loss(real, fake, "least_squares")) == pytest.approx(1.0 + 2.125)
    matching = feature_matching_loss([output(0.0, feature=2.0)], [output(0.0, feature=3.0)])
    assert float(matching) == pytest.approx(0.5, rel=1e-4)


def test_the_hinge_asks_no_more_of_a_generator_that_is_taken_for_real() -> None:
    logits = torch.tensor([3.0, 1.5, 0.5, -1.0], requires_grad=True)
    loss = generator_adversarial_loss([DiscriminatorOutput(logits.reshape(1, 1, 1, -1), ())])
    loss.backward()
    assert float(loss.detach()) == pytest.approx((0.5 + 2.0) / 4)
    assert logits.grad.tolist() == [0.0, 0.0, -0.25, -0.25]


def test_the_hinge_asks_no_more_of_discriminators_that_are_sure() -> None:
    real = torch.tensor([2.0, 0.5], requires_grad=True)
    fake = torch.tensor([-2.0, -0.5], requires_grad=True)
    outputs = [DiscriminatorOutput(x.reshape(1, 1, 1, -1), ()) for x in (real, fake)]
    discriminator_loss(outputs[:1], outputs[1:]).backward()
    assert real.grad.tolist() == [0.0, -0.5] and fake.grad.tolist() == [0.0, 0.5]


def test_discriminators_count_equally_whatever_their_size() -> None:
    fake = [output(1.0), output(-1.0, -1.0, -1.0, -1.0)]
    assert float(generator_adversarial_loss(fake)) == pytest.approx(1.0)


@pytest.mark.parametrize("kind", ["hinge", "least_squares"])
def test_adversarial_term_alone_trains_the_generator(kind) -> None:
    # paper.md 10.1, defect 7
    torch.manual_seed(0)
    discriminators, generator = MelDiscriminators(TOY), nn.Conv1d(1, 1, 9, padding=4)
    wav = 0.1 * torch.randn(2, 1, 4000)
    loss = generator_adversarial_loss(discriminators(generator(wav)), kind)
    gradients = torch.autograd.grad(loss, list(generator.parameters()))
    assert all(float(gradient.abs().sum()) > 0 for gradient in gradients)


def test_feature_matching_trains_the_generator_and_not_the_target() -> None:
    torch.manual_seed(0)
    discriminators, generator = MelDiscriminators(TOY), nn.Conv1d(1, 1, 9, padding=4)
    wav = 0.1 * torch.randn(2, 1, 4000)
    target = wav.clone().requires_grad_()  # with a graph: the loss itself must detach it
    feature_matching_loss(discriminators(target), discriminators(generator(wav))).backward()
    assert float(generator.weight.grad.abs().sum()) > 0
    assert target.grad is None


def test_discriminator_pass_trains_the_discriminators_only() -> None:
    discriminators, generator = MelDiscriminators(TOY), nn.Conv1d(1, 1, 9, padding=4)
    wav = 0.1 * torch.randn(2, 1, 4000)
    loss = discriminator_loss(discriminators(wav), discriminators(generator(wav).detach()))
    loss.backward()
    assert all(p.grad is None for p in generator.parameters())
    for name, parameter in discriminators.named_parameters():
        # Biases may stay: at the start real and fake pull some of them in opposite directions.
        if "bias" not in name:
            assert float(parameter.grad.abs().sum()) > 0, name


def test_two_halves_of_a_batch_average_to_the_whole() -> None:
    torch.manual_seed(0)
    model = MelDiscriminators(TOY)
    # Items of very different loudness: a batch-wide normaliser would mix them.
    wav = torch.randn(4, 1, 3000) * torch.tensor([0.001, 0.01, 0.1, 0.5])[:, None, None]
    with torch.no_grad():
        real, fake = model(wav), model(wav + 0.01 * torch.randn_like(wav))

    def part(outputs: list, rows: slice) -> list:
        return [
            DiscriminatorOutput(o.logits[rows], tuple(f[rows] for f in o.features)) for o in outputs
        ]

    for loss in (
        feature_matching_loss,
        discriminator_loss,
        lambda real, fake: generator_adversarial_loss(fake),
    ):
        halves = [loss(part(real, r), part(fake, r)) for r in (slice(0, 2), slice(2, 4))]
        torch.testing.assert_close(sum(halves) / 2, loss(real, fake), rtol=1e-5, atol=1e-6)


def test_errors_name_what_came() -> None:
    with pytest.raises(ValueError, match="'wgan'"):
        generator_adversarial_loss([output(0.0)], "wgan")
    with pytest.raises(ValueError, match="got 1 for 2"):
        discriminator_loss([output(0.0)] * 2, [output(0.0)])
