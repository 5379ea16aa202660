"""Residual vector quantization of the queries: `[B, Q, D]` to codes `[B, K, Q]` and back.

Each layer (quantizer_layer.py) quantizes the residual of the preceding layers by one entry of its
codebook (paper.md 4.2, D). The first codebook is the semantic prior, half speech and half sound
entries, and frozen (paper.md 3, A/B): only its linear map to the queries is trained. The other
codebooks follow their inputs by exponential moving averages. All computation is in float32, also
under autocast.

Shapes: `B` batch, `Q` queries, `K` codebooks, `C` entries, `D` width, `P` code width, `N = B * Q`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from .codebook import LayerUsage
from .config import ALMTokenizerConfig
from .quantizer_layer import FrozenLayer, LearnedLayer, QuantizerLayer


@dataclass(frozen=True)
class QuantizerOutput:
    """Output of the quantizer with `L <= K` layers."""

    quantized: Tensor  # [B, Q, D] float32, straight-through gradient to the queries
    codes: Tensor  # [B, L, Q] int64
    commitment_loss: Tensor  # scalar float32, weighted per layer
    layers: Tensor  # [B, Q, L, D] output of each layer, each with straight-through gradient


class ResidualQuantizer(nn.Module):
    """Residual vector quantizer of K layers."""

    def __init__(self, config: ALMTokenizerConfig):
        super().__init__()
        frozen = {"first": 1, "none": 0, "all": config.num_codebooks}[config.prior_codebooks]
        self.dropout = config.quantizer_dropout
        kinds = [FrozenLayer if i < frozen else LearnedLayer for i in range(config.num_codebooks)]
        layers = [kind(config) for kind in kinds]
        # Also where the default dtype is another one, as in `from_config(config, dtype=...)`.
        self.layers = cast("list[QuantizerLayer]", nn.ModuleList(layers).float())

    def forward(self, queries: Tensor, num_quantizers: int | None = None) -> QuantizerOutput:
        """Quantise queries `[B, Q, D]` with the first `num_quantizers` layers (all by default).

        The straight-through estimator is applied to the sum of the layers: one per layer would pass
        L times the gradient to the queries.
        """
        batch, count, width = queries.shape
        with torch.autocast(queries.device.type, enabled=False):
            queries = queries.float().reshape(-1, width)  # [N, D]
            straight_through = queries - queries.detach()  # zero, with gradient to the queries
            residual, results = queries, []
            for layer in self.layers[: num_quantizers or self._draw_depth()]:
                results.append(layer(residual))
                residual = residual - results[-1].output.detach()
            outputs = torch.stack([result.output for result in results], dim=1)  # [N, L, D]
            quantized = outputs.sum(dim=1) + straight_through
            layers = outputs + straight_through[:, None]
            codes = torch.stack([result.codes for result in results])  # [L, N]
        return QuantizerOutput(
            quantized=quantized.reshape(batch, count, width),
            codes=codes.reshape(-1, batch, count).transpose(0, 1).contiguous(),
            commitment_loss=torch.stack([result.loss for result in results]).sum(),
            layers=layers.reshape(batch, count, -1, width),
        )

    @torch.no_grad()
    def initialize(self, queries: Tensor) -> None:
        """Initialise all layers from queries `[N, D]`, best several per codebook entry.

        All processes must pass the same queries. Without this call the layers are initialised from
        the first training batch.
        """
        residual = queries.float()
        for layer in self.layers:
            layer.initialize(residual)
            residual = residual - layer.decode(layer.nearest(residual))

    @property
    def initialized(self) -> bool:
        """Whether all layers are initialised from data."""
        return all(bool(layer.codebook.initialised) for layer in self.layers)

    @torch.no_grad()
    def quantize(self, queries: Tensor) -> Tensor:
        """Return the codes `[B, K, Q]` of queries `[B, Q, D]`; nothing is updated."""
        with torch.autocast(queries.device.type, enabled=False):
            residual, codes = queries.float(), []
            for layer in self.layers:
                code = layer.nearest(residual)
                residual = residual - layer.decode(code)
                codes.append(code)
        return torch.stack(codes, dim=1)

    def dequantize(self, codes: Tensor) -> Tensor:
        """Return the quantised queries `[B, Q, D]` of codes `[B, L, Q]`, L from 1 to K."""
        parts = zip(self.layers, codes.unbind(dim=1), strict=False)
        with torch.autocast(codes.device.type, enabled=False):
            return torch.stack([layer.decode(code) for layer, code in parts]).sum(dim=0)

    def usage(self) -> list[LayerUsage]:
        """Return the recent use of the entries of each layer."""
        return [layer.codebook.usage() for layer in self.layers]

    @torch.no_grad()
    def load_prior(self, centroids: Tensor, num_speech: int) -> bool:
        """Load semantic centroids `[C, P]` into the frozen codebooks; speech entries come first.

        The layers must be initialised again, unless they have the same centroids.

        Returns:
            Whether all layers were initialised with the same centroids before.

        Raises:
            ValueError: No layer is frozen, or the shape is not `[C, P]` of the config.
        """
        frozen = [layer for layer in self.layers if isinstance(layer, FrozenLayer)]
        if not frozen:
            raise ValueError("prior_codebooks must be 'first' or 'all' for a prior, got 'none'")
        unchanged = [layer.codebook.load_centroids(centroids, num_speech) for layer in frozen]
        return all(unchanged) and self.initialized

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> ResidualQuantizer:
        """Move to another device, but never to another precision."""

        def keep_precision(tensor: Tensor) -> Tensor:
            moved = fn(tensor)
            return moved if moved.dtype == tensor.dtype else tensor.to(moved.device)

        return super()._apply(keep_precision, recurse)

    def _draw_depth(self) -> int:
        """Number of layers of a step; random with quantizer dropout."""
        if self.training and self.dropout and float(torch.rand(())) < self.dropout:
            return int(torch.randint(1, len(self.layers) + 1, ()))
        return len(self.layers)
