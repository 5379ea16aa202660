"""Autoregressive loss: predict the vector of each RVQ layer from the preceding layers.

From the paper (paper.md 5.1, A): quantised vectors as a sequence along depth, next-item prediction
by a continuous autoregressive Transformer, squared error. Ours (D, after LARP): learned depth
positions, vectors of unit length, stop gradient on the target and none on the input.

Shapes: B batch, Q queries, K codebooks, D width.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..transformer import Transformer
from .base import ForwardPass, LossSetup, TrainingLoss, component_config


@dataclass(frozen=True, kw_only=True)
class AutoregressiveDepthConfig:
    """Settings of :class:`AutoregressiveDepth` (all D)."""

    width: int = 128  # of the AR Transformer
    num_layers: int = 2
    num_heads: int = 4
    ffn_ratio: int = 4
    layer_scale: float = 0.1


@dataclass(frozen=True)
class AutoregressiveOutput:
    """The loss, and the accuracy of each prediction."""

    loss: Tensor  # scalar, float32; 1 when the prediction is zero
    cosines: Tensor  # [K - 1] mean cosine of prediction and target for items 2 .. K, detached


class AutoregressiveDepth(TrainingLoss):
    """Next-layer prediction along RVQ depth; `autoregressive` in configs and logs.

    The targets are detached (otherwise the codes could shrink or align) and of unit length. The
    squared error is summed over channels: a mean over the channels of unit vectors is about 2 / D,
    which has no effect at usual weights (paper.md 5.1). The input keeps its gradient, which reaches
    the encoder through the straight-through vectors.

    The Transformer often needs another learning rate (LARP: 50 times that of the codec).

    Args:
        input_width: D of the layers' vectors.
        num_codebooks: K, at least 2.
        config: see :class:`AutoregressiveDepthConfig`.

    Example:
        >>> import torch
        >>> objective = AutoregressiveDepth(32, num_codebooks=3)
        >>> objective(torch.randn(2, 5, 3, 32)).shape
        torch.Size([])
    """

    def __init__(
        self,
        input_width: int,
        *,
        num_codebooks: int = 3,
        config: AutoregressiveDepthConfig | None = None,
    ) -> None:
        super().__init__()
        if num_codebooks < 2:
            raise ValueError(f"num_codebooks must be at least 2, got {num_codebooks}")
        self.config = config or AutoregressiveDepthConfig()
        width = self.config.width
        self.num_codebooks = num_codebooks
        self.input = nn.Linear(input_width, width)
        self.positions = nn.Parameter(torch.randn(num_codebooks - 1, width) * 0.02)
        self.transformer = Transformer(
            width=width,
            num_layers=self.config.num_layers,
            num_heads=self.config.num_heads,
            ffn_size=self.config.ffn_ratio * width,
            window=num_codebooks,
            mode="causal",
            layer_scale=self.config.layer_scale,
        )
        self.output = nn.Linear(width, input_width)
        # Initial predictions have a tenth of the length of their targets: with the default weights
        # it would be sqrt(D / 3) times the length, and the first losses of order D instead of 1.
        nn.init.normal_(self.output.weight, std=0.1 * (width * input_width) ** -0.5)
        nn.init.zeros_(self.output.bias)

    @classmethod
    def from_setup(cls, setup: LossSetup) -> AutoregressiveDepth:
        """Build the loss from the config field `autoregressive`."""
        config = component_config(AutoregressiveDepthConfig, setup.config.autoregressive)
        model = setup.model
        return cls(model.hidden_size, num_codebooks=model.num_codebooks, config=config)

    def compute(self, forward: ForwardPass) -> Tensor | None:
        """Return the loss of a quantised step; None if quantizer dropout removed layers."""
        if forward.layers is None or forward.layers.shape[2] != self.num_codebooks:
            return None
        return self(forward.layers)

    def forward(self, layers: Tensor) -> Tensor:
        """Return the loss (float32 scalar) of per-layer vectors `[B, Q, K, D]`."""
        return self.evaluate(layers).loss

    def evaluate(self, layers: Tensor) -> AutoregressiveOutput:
        """Return the loss of `[B, Q, K, D]` and the cosine of each prediction."""
        vectors = self._unit(layers)
        prediction = self._predict_unit(vectors)  # [B, Q, K-1, D]
        with torch.autocast(device_type=layers.device.type, enabled=False):
            prediction = prediction.float()
            target = vectors[:, :, 1:].detach()
            loss = (prediction - target).square().sum(dim=-1).mean()
            cosines = F.cosine_similarity(prediction.detach(), target, dim=-1).mean(dim=(0, 1))
        return AutoregressiveOutput(loss, cosines)

    def predict(self, layers: Tensor) -> Tensor:
        """Return predictions `[B, Q, K-1, D]` for items 2 .. K of `layers [B, Q, K, D]`.

        The entry for item k depends on items 1 .. k-1 only.
        """
        return self._predict_unit(self._unit(layers))

    def _predict_unit(self, vectors: Tensor) -> Tensor:
        batch, queries, depth, _ = vectors.shape
        x = vectors[:, :, :-1].flatten(0, 1)  # [B*Q, K-1, D]; the last item is only a target
        x = self.transformer(self.input(x) + self.positions)
        return self.output(x).reshape(batch, queries, depth - 1, -1)

    def _unit(self, layers: Tensor) -> Tensor:
        if layers.dim() != 4 or layers.shape[2] != self.num_codebooks:
            raise ValueError(
                f"layers must be [B, Q, {self.num_codebooks}, D], got {tuple(layers.shape)}"
            )
        layers = layers.float()
        # Layers removed by quantizer dropout are zero: the constant keeps the gradient of the root
        # finite; F.normalize would multiply it by 1e12.
        return layers * (layers.square().sum(dim=-1, keepdim=True) + 1e-6).rsqrt()
