"""Residual vector quantization of the queries: `[B, Q, D]` to codes `[B, K, Q]` and back.

Each layer says what it can of the residual by one entry of its codebook and leaves the rest to the
next (paper.md 4.2, D). The first codebook is frozen on the semantic prior, half speech and half
sound entries (paper.md 3, A/B), so only the map that carries them among the queries learns; the
others follow their inputs by exponential moving average. One layer: quantizer_layer.py.
Everything here runs in float32, under autocast too.

Letters: `B` batch, `Q` queries, `K` codebooks, `C` entries, `D` width, `P` code width, `N = B * Q`.
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
    """What quantization gives; `L <= K` layers were used."""

    quantized: Tensor  # [B, Q, D] float32, its gradient goes to the queries as it is
    codes: Tensor  # [B, L, Q] int64
    commitment_loss: Tensor  # scalar float32, weighted per layer
    layers: Tensor  # [B, Q, L, D] what each layer contributed; the gradient of each one likewise


class ResidualQuantizer(nn.Module):
    """K layers, each quantising what the ones before left over."""

    def __init__(self, config: ALMTokenizerConfig):
        super().__init__()
        frozen = {"first": 1, "none": 0, "all": config.num_codebooks}[config.prior_codebooks]
        self.dropout = config.quantizer_dropout
        kinds = [FrozenLayer if i < frozen else LearnedLayer for i in range(config.num_codebooks)]
        layers = [kind(config) for kind in kinds]
        self.layers = cast("list[QuantizerLayer]", nn.ModuleList(layers))

    def forward(self, queries: Tensor, num_quantizers: int | None = None) -> QuantizerOutput:
        """Quantise queries `[B, Q, D]` with the first `num_quantizers` layers (all by default).

        The straight-through estimator stands around the sum of the layers. One in each of them
        would send L times the gradient to the queries.
        """
        batch, count, width = queries.shape
        with torch.autocast(queries.device.type, enabled=False):
            queries = queries.float().reshape(-1, width)  # [N, D]
            straight_through = queries - queries.detach()  # zero, with the gradient of the queries
            residual, said = queries, []
            for layer in self.layers[: num_quantizers or self._drawn_depth()]:
                said.append(layer(residual))
                residual = residual - said[-1].output.detach()
            outputs = torch.stack([x.output for x in said], dim=1)  # [N, L, D]
            quantized = outputs.sum(dim=1) + straight_through
            layers = outputs + straight_through[:, None]
            codes = torch.stack([x.codes for x in said])  # [L, N]
        return QuantizerOutput(
            quantized=quantized.reshape(batch, count, width),
            codes=codes.reshape(-1, batch, count).transpose(0, 1).contiguous(),
            commitment_loss=torch.stack([x.loss for x in said]).sum(),
            layers=layers.reshape(batch, count, -1, width),
        )

    @torch.no_grad()
    def initialize(self, queries: Tensor) -> None:
        """Start every layer on many queries `[N, D]` at once, best several for each entry.

        Every process brings the same queries. Without this call the first training batch does it,
        with what it has.
        """
        residual = queries.float()
        for layer in self.layers:
            layer.initialize(residual)
            residual = residual - layer.decode(layer.nearest(residual))

    @property
    def initialized(self) -> bool:
        """Whether every layer has been placed by data."""
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
        """Return how the entries of each layer were used lately."""
        return [layer.codebook.usage() for layer in self.layers]

    @torch.no_grad()
    def load_prior(self, centroids: Tensor, num_speech: int) -> bool:
        """Put semantic centroids `[C, P]` into the frozen codebooks; speech entries come first.

        Codebooks have to be placed by data again, unless they hold these very centroids.

        Returns:
            Whether everything was placed on these centroids already, and stays.

        Raises:
            ValueError: if no layer is frozen, or the shape is not `[C, P]` of the config.
        """
        frozen = [layer for layer in self.layers if isinstance(layer, FrozenLayer)]
        if not frozen:
            raise ValueError("this codec learns every codebook (prior_codebooks='none')")
        kept = [layer.codebook.load_centroids(centroids, num_speech) for layer in frozen]
        return all(kept) and self.initialized

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> ResidualQuantizer:
        """Follow the model to another device, but never to another precision."""

        def keep_precision(tensor: Tensor) -> Tensor:
            moved = fn(tensor)
            return moved if moved.dtype == tensor.dtype else tensor.to(moved.device)

        return super()._apply(keep_precision, recurse)

    def _drawn_depth(self) -> int:
        """All layers, or with quantizer dropout now and then the first few only."""
        if self.training and self.dropout and float(torch.rand(())) < self.dropout:
            return int(torch.randint(1, len(self.layers) + 1, ()))
        return len(self.layers)
