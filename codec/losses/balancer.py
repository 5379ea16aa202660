"""Gradient balancer of EnCodec: weights are shares of the gradient, independent of loss scales."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

Average = Callable[[Tensor], Tensor]  # mean of a 1-D float64 CPU tensor over all processes


class Balancer:
    """Rescale the gradients of several losses at the generator's output.

    Formula. Let `x` be the output waveform `[B, 1, S]`, `g_i = d loss_i / d x`, and `n_i` the
    exponential moving average (bias-corrected, decay `decay`) of `mean over items of |B * g_i|`.
    With weights `w_i` of the losses given in this call, the output receives

        `G = sum over i of  total_norm * w_i / (sum over j of w_j) * g_i / n_i`

    and `x.backward(G)` carries it into the generator.

    Reason. The gradients of time L1, log-mel and adversarial losses differ by orders of magnitude,
    and their ratio changes during training, so fixed weights have no fixed meaning. Here
    `w_i / sum w` is the share of loss i in the gradient, whatever its unit.

    `B *` compensates the mean over the batch in each loss, so norms are per item: a process with 2b
    items is equivalent to two processes with b items each, if gradients are averaged over processes
    and norms by `average`. (EnCodec's code has no factor `B`, which multiplies the gradient by the
    batch size.)

    Use::

        balancer = Balancer({"time": 0.1, "mel": 1.0, "adversarial": 3.0, "feature_matching": 3.0})
        shares = balancer.backward(losses, prediction)  # instead of (sum of losses).backward()
        (commitment + masked).backward()                # losses on inner tensors are not balanced

    If another loss shares the generator's graph, pass `retain_graph=True` and call its backward
    later, or pass the sum of such losses as `unbalanced` for a single backward pass.

    Args:
        weights: share of each loss; losses of weight 0 are not computed.
        decay: of the moving average of the norms.
        total_norm: mean norm per item of the balanced gradient if all gradients are parallel.
        average: mean over processes, e.g. a gloo all-reduce; None for one process.
    """

    def __init__(
        self,
        weights: Mapping[str, float],
        decay: float = 0.999,
        *,
        total_norm: float = 1.0,
        average: Average | None = None,
    ) -> None:
        negative = {name: weight for name, weight in weights.items() if not weight >= 0}
        if negative:
            raise ValueError(f"weights must not be negative, got {negative}")
        if not 0.0 <= decay < 1.0:
            raise ValueError(f"decay must be in [0, 1), got {decay}")
        self.weights = dict(weights)
        self.decay = decay
        self.total_norm = total_norm
        self.average = average
        # name -> (decayed sum of norms, decayed count); Python floats are float64
        self._norms: dict[str, tuple[float, float]] = {}

    def backward(
        self,
        losses: Mapping[str, Tensor],
        output: Tensor,
        *,
        unbalanced: Tensor | None = None,
        retain_graph: bool = False,
    ) -> dict[str, float]:
        """Backpropagate the balanced gradient into the generator.

        Args:
            losses: name -> scalar, each a mean over the batch of a function of `output`. A loss
                without a weight is an error; losses that are missing have no share.
            output: the generator's waveform `[B, 1, S]`, part of the graph of every loss.
            unbalanced: scalar that is added unscaled (commitment, masked, autoregressive), for a
                single backward pass through the generator.
            retain_graph: keep the generator's graph.

        Returns:
            Name -> factor of its loss in this step; 0.0 if the loss had no gradient yet or has no
            weight.

        Raises:
            ValueError: A loss has no weight or does not depend on `output`.
        """
        unknown = sorted(set(losses) - set(self.weights))
        if unknown:
            raise ValueError(f"losses must be among {sorted(self.weights)}, got {unknown}")
        active = [name for name in self.weights if name in losses and self.weights[name] > 0]
        gradients = self._gradients({name: losses[name] for name in active}, output)
        self._update(gradients, output.shape[0])
        factors = {name: 0.0 for name in losses} | self._factors(active)
        total = torch.zeros_like(output)
        for name, gradient in gradients.items():
            # Gradients that are not finite pass through, also with factor 0 (nan * 0 = nan), so
            # that the training loop can detect them.
            total = total.add(gradient, alpha=factors[name])
        roots, seeds = [output], [total]
        if unbalanced is not None:
            roots.append(unbalanced)
            seeds.append(torch.ones_like(unbalanced))
        torch.autograd.backward(roots, seeds, retain_graph=retain_graph)
        return factors

    @staticmethod
    def _gradients(losses: Mapping[str, Tensor], output: Tensor) -> dict[str, Tensor]:
        gradients = {}
        for name, loss in losses.items():
            gradient = None
            if loss.requires_grad:
                # Adversarial and feature-matching losses share the discriminators' graph.
                (gradient,) = torch.autograd.grad(
                    loss, [output], retain_graph=True, allow_unused=True
                )
            if gradient is None:
                raise ValueError(f"loss {name!r} must depend on the output, got no gradient")
            gradients[name] = gradient
        return gradients

    def _update(self, gradients: Mapping[str, Tensor], batch: int) -> None:
        if not gradients:
            return
        per_item = torch.stack(
            [_item_norms(gradient) for gradient in gradients.values()]
        )  # [losses, B]
        norms = batch * per_item.cpu().double().mean(dim=1)  # the only transfer of a step
        if self.average is not None:
            norms = self.average(norms)
        for name, norm in zip(gradients, norms.tolist(), strict=True):
            # One bad batch must not spoil the average for a thousand steps. All processes have the
            # same mean, so they agree.
            if math.isfinite(norm):
                total, count = self._norms.get(name, (0.0, 0.0))
                self._norms[name] = (self.decay * total + norm, self.decay * count + 1.0)

    def _factors(self, active: list[str]) -> dict[str, float]:
        weights = sum(self.weights[name] for name in active)
        factors = {}
        for name in active:
            total, count = self._norms.get(name, (0.0, 0.0))
            norm = total / count if count else 0.0
            share = self.total_norm * self.weights[name] / weights
            factors[name] = share / norm if norm > 0.0 else 0.0
        return factors

    def state_dict(self) -> dict[str, Tensor]:
        """Return name -> float64 `[2]`: decayed sum of the norms, decayed count. Exact."""
        return {name: torch.tensor(pair, dtype=torch.float64) for name, pair in self._norms.items()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore what :meth:`state_dict` returned; ``ValueError`` for losses without a weight."""
        unknown = sorted(set(state) - set(self.weights))
        if unknown:
            raise ValueError(f"losses must be among {sorted(self.weights)}, got {unknown}")
        self._norms = {}
        for name, pair in state.items():
            total, count = (float(value) for value in pair)
            self._norms[name] = (total, count)


def _item_norms(gradient: Tensor) -> Tensor:
    """Norm of each item `[B]` in float32, which every device supports.

    Items are divided by their largest number first: squares of 1e-23 would be zero otherwise.
    """
    items = gradient.flatten(1).float()
    largest = items.abs().amax(dim=1).clamp_min(torch.finfo(torch.float32).tiny)
    return (items / largest[:, None]).norm(dim=1) * largest
