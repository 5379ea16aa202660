"""Adversarial and feature-matching losses on the outputs of the discriminators (paper.md 5.1)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Self, cast

import torch
from torch import Tensor

from .base import ForwardPass, LossSetup, TrainingLoss
from .discriminators import DiscriminatorOutput

AdversarialKind = Literal["hinge", "least_squares"]


def generator_adversarial_loss(
    fake_outputs: Sequence[DiscriminatorOutput], kind: AdversarialKind = "hinge"
) -> Tensor:
    """Return the adversarial loss of the generator; `adversarial` in logs.

    Hinge (default, EnCodec's and SoundStream's): `mean max(0, 1 - D(fake))`. Least squares (the
    author's own later codec): `mean (1 - D(fake))^2`. Averaged over the discriminators.
    """
    _check_kind(kind)
    terms = []
    for output in fake_outputs:
        margin = 1.0 - output.logits.float()
        terms.append((margin.relu() if kind == "hinge" else margin.square()).mean())
    return torch.stack(terms).mean()


def discriminator_loss(
    real_outputs: Sequence[DiscriminatorOutput],
    fake_outputs: Sequence[DiscriminatorOutput],
    kind: AdversarialKind = "hinge",
) -> Tensor:
    """Return the loss of the discriminators; 2 (hinge) or 1 (least squares) when all logits are 0.

    Hinge: `mean max(0, 1 - D(real)) + mean max(0, 1 + D(fake))`. Least squares:
    `mean (1 - D(real))^2 + mean D(fake)^2`. Averaged over the discriminators.
    """
    _check_kind(kind)
    _check_pairs(real_outputs, fake_outputs)
    terms = []
    for real, fake in zip(real_outputs, fake_outputs, strict=True):
        to_real = 1.0 - real.logits.float()
        if kind == "hinge":
            terms.append(to_real.relu().mean() + (1.0 + fake.logits.float()).relu().mean())
        else:
            terms.append(to_real.square().mean() + fake.logits.float().square().mean())
    return torch.stack(terms).mean()


def feature_matching_loss(
    real_outputs: Sequence[DiscriminatorOutput], fake_outputs: Sequence[DiscriminatorOutput]
) -> Tensor:
    """Return the relative L1 distance of the feature maps; `feature_matching` in logs.

    `mean |real - fake| / mean |real|` per item, map and discriminator (EnCodec, equation 3), then
    the mean of all. The denominator is taken per item rather than per batch, so the mean over two
    processes is what one process with both batches computes. Real maps get no gradient.
    """
    _check_pairs(real_outputs, fake_outputs)
    terms = []
    for real, fake in zip(real_outputs, fake_outputs, strict=True):
        for real_map, fake_map in zip(real.features, fake.features, strict=True):
            target = real_map.detach().float()  # [B, channels, frames, mels]
            difference = (fake_map.float() - target).abs().mean(dim=(1, 2, 3))  # [B]
            terms.append((difference / (target.abs().mean(dim=(1, 2, 3)) + 1e-5)).mean())
    return torch.stack(terms).mean()


class AdversarialLoss(TrainingLoss):
    """:func:`generator_adversarial_loss` as a loss of training."""

    def __init__(self, kind: AdversarialKind = "hinge"):
        super().__init__()
        self.kind = kind

    @classmethod
    def from_setup(cls, setup: LossSetup) -> Self:
        """Build the loss from the config field `adversarial_kind`."""
        return cls(cast("AdversarialKind", setup.config.adversarial_kind))

    def compute(self, forward: ForwardPass) -> Tensor | None:
        """Return the loss of a step with discriminators."""
        if forward.fake is None:
            return None
        return generator_adversarial_loss(forward.fake, kind=self.kind)


class FeatureMatchingLoss(TrainingLoss):
    """:func:`feature_matching_loss` as a loss of training."""

    def compute(self, forward: ForwardPass) -> Tensor | None:
        """Return the loss of a step with discriminators."""
        if forward.real is None or forward.fake is None:
            return None
        return feature_matching_loss(forward.real, forward.fake)


def _check_kind(kind: str) -> None:
    if kind not in ("hinge", "least_squares"):
        raise ValueError(f"kind must be 'hinge' or 'least_squares', got {kind!r}")


def _check_pairs(real: Sequence[DiscriminatorOutput], fake: Sequence[DiscriminatorOutput]) -> None:
    if len(real) != len(fake):
        raise ValueError(
            f"there must be one fake output per real one, got {len(fake)} for {len(real)}"
        )
