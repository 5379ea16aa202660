"""Linear probes: multinomial logistic regression on frozen features.

Shapes: N examples, P width of the features, L classes. Features [N, P] are a dense tensor, or a
sparse one for codes as one-hot vectors.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ...core.metrics.intervals import Interval, rate_interval

# Penalties on the squared weights that are tried, strongest first.
PENALTIES = tuple(10.0**-power for power in range(1, 8))
_ITERATIONS = 60


@dataclass(frozen=True)
class Examples:
    """Labelled features of one probe."""

    features: Tensor  # [N, P], dense or sparse
    labels: Tensor  # [N] int64, from 0
    clips: Tensor  # [N] int64: number of the clip that an example is of

    def of_clips(self, chosen: Tensor) -> Examples:
        """Examples of the clips with these numbers."""
        index = torch.isin(self.clips, chosen).nonzero()[:, 0]
        features = self.features.index_select(0, index)
        return Examples(features, self.labels[index], self.clips[index])

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class LinearMap:
    """Logits of classes, `x W + b`."""

    weight: Tensor  # [P, L]
    bias: Tensor  # [L]

    def __call__(self, features: Tensor) -> Tensor:
        """Logits [N, L]."""
        return features @ self.weight + self.bias


@dataclass(frozen=True)
class ProbeScore:
    """Result of a probe on held-out clips."""

    accuracy: Interval  # of examples, with an interval over clips
    penalty: float  # chosen on validation clips
    train: int  # examples
    test: int


def fit(
    examples: Examples, classes: int, penalty: float, start: LinearMap | None = None
) -> LinearMap:
    """Minimise the mean cross-entropy plus `penalty / 2` times the squared weights by L-BFGS.

    Args:
        examples: of the training.
        classes: L.
        penalty: on the weights, not on the bias.
        start: initial map; zero by default. The problem is convex.
    """
    width = examples.features.shape[1]
    weight = torch.zeros(width, classes) if start is None else start.weight.clone()
    bias = torch.zeros(classes) if start is None else start.bias.clone()
    parameters = [weight.requires_grad_(), bias.requires_grad_()]
    optimizer = torch.optim.LBFGS(
        parameters, max_iter=_ITERATIONS, history_size=10, line_search_fn="strong_wolfe"
    )

    def loss() -> Tensor:
        optimizer.zero_grad()
        logits = examples.features @ weight + bias
        value = F.cross_entropy(logits, examples.labels) + 0.5 * penalty * weight.square().sum()
        value.backward()
        return value

    optimizer.step(loss)
    return LinearMap(weight.detach(), bias.detach())


def probe(
    train: Examples, valid: Examples, test: Examples, classes: int, *, seed: int = 0
) -> ProbeScore:
    """Fit a probe with the penalty that is best on validation clips, and test it.

    Dense features are standardised by the training examples. The final probe is fitted to training
    and validation clips.

    Args:
        train: examples of training clips.
        valid: of validation clips.
        test: of test clips.
        classes: L.
        seed: of the bootstrap.
    """
    train, valid, test = _standardised(train, valid, test)
    best, found, start = float("inf"), PENALTIES[0], None
    for penalty in PENALTIES:
        start = fit(train, classes, penalty, start)
        loss = float(F.cross_entropy(start(valid.features), valid.labels))
        if loss > best:  # weaker penalties overfit more
            break
        best, found = loss, penalty
    everything = Examples(
        torch.cat([train.features, valid.features]),
        torch.cat([train.labels, valid.labels]),
        torch.cat([train.clips, valid.clips]),
    )
    final = fit(everything, classes, found)
    correct = final(test.features).argmax(dim=1) == test.labels
    accuracy = _by_clip(correct, test.clips, seed)
    return ProbeScore(accuracy, found, len(everything), len(test))


def chance(train: Examples, test: Examples, *, seed: int = 0) -> Interval:
    """Accuracy of the most frequent class of the training examples."""
    return _by_clip(test.labels == train.labels.mode().values, test.clips, seed)


def _standardised(train: Examples, *others: Examples) -> tuple[Examples, ...]:
    if train.features.is_sparse:
        return train, *others
    mean = train.features.mean(dim=0)
    scale = train.features.std(dim=0, correction=0).clamp_min(1e-6)
    return tuple(
        Examples((part.features - mean) / scale, part.labels, part.clips)
        for part in (train, *others)
    )


def _by_clip(correct: Tensor, clips: Tensor, seed: int) -> Interval:
    """Share of correct examples, with an interval over clips."""
    _, numbers = clips.unique(return_inverse=True)
    hits = np.bincount(numbers.numpy(), weights=correct.numpy())
    return rate_interval(hits, np.bincount(numbers.numpy()), seed=seed)
