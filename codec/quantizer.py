"""Residual vector quantization of the queries: `[B, Q, D]` to codes `[B, K, Q]` and back.

Each layer maps the residual into its own code space (unless that is the space of the queries),
takes the nearest entry, maps it back, and leaves the rest to the next layer (paper.md 4.2, D).
The first codebook is frozen on the semantic prior, half speech and half sound entries (paper.md 3,
A/B), so only its linear maps learn; the others follow their inputs by exponential moving average.
Everything here runs in float32, under autocast too.

Letters: `B` batch, `Q` queries, `K` codebooks, `C` entries, `D` width, `P` code width,
`N = B * Q`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .codebook import Codebook, LayerUsage, principal_axes
from .config import ALMTokenizerConfig
from .linear import Linear
from .processes import gather


@dataclass(frozen=True)
class QuantizerOutput:
    """What quantization gives; `L <= K` layers were used."""

    quantized: Tensor  # [B, Q, D] float32, gradient straight through to the queries
    codes: Tensor  # [B, L, Q] int64
    commitment_loss: Tensor  # scalar float32, weighted per layer
    layers: Tensor  # [B, Q, L, D] what each layer contributed, straight through


class QuantizerLayer(nn.Module):
    """One codebook, between two linear maps unless it lives in the space of the queries."""

    def __init__(self, config: ALMTokenizerConfig, *, prior: bool):
        super().__init__()
        dim = config.prior_dim if prior else config.codebook_dim
        mapped = prior or dim != config.hidden_size
        self.prior = prior
        self.project_in = Linear(config.hidden_size, dim) if mapped else nn.Identity()
        self.project_out = Linear(dim, config.hidden_size) if mapped else nn.Identity()
        self.codebook = Codebook(
            config.codebook_size,
            dim,
            frozen=prior,
            decay=config.codebook_decay,
            dead_code_ratio=config.dead_code_ratio,
        )
        self.commitment_weight = (
            config.prior_commitment_weight if prior else config.commitment_weight
        )

    def forward(self, residual: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Quantise `[N, D]`; returns the layer's output `[N, D]`, codes `[N]`, its loss."""
        if self.training and not self.codebook.initialised:
            self.start(gather(residual.detach()))
        latent = self.project_in(residual)  # [N, P]
        codes = self.codebook.nearest(latent.detach())
        entries = self.codebook.lookup(codes)
        if self.training:
            self.codebook.update(latent.detach(), codes)
        output = self.project_out(latent + (entries - latent).detach())
        return output, codes, self._loss(residual, entries)

    def _loss(self, residual: Tensor, entries: Tensor) -> Tensor:
        """What pulls queries, maps and entries together.

        The commitment is measured in the space of the queries, where all layers have one scale.
        The map out of the code space learns to say what the queries were, which is what the update
        of a codebook does in plain RVQ. The map into the space of a frozen codebook keeps the
        queries spread like the entries: left to the commitment it shrinks them until a dozen
        entries are in reach (measured: perplexity 12 of 2048 after 450 steps).
        """
        said = self.project_out(entries)  # [N, D]
        loss = self.commitment_weight * F.mse_loss(residual, said.detach())
        if isinstance(self.project_out, Linear):
            loss = loss + F.mse_loss(said, residual.detach())
        if self.prior and self.training:
            loss = loss + 0.02 * self.codebook.spread_loss(self.project_in(residual.detach()))
        return loss

    def decode(self, codes: Tensor) -> Tensor:
        """Map codes `[...]` to `[..., D]`."""
        return self.project_out(self.codebook.lookup(codes))

    @torch.no_grad()
    def start(self, residual: Tensor) -> None:
        """Place maps and entries by vectors `[N, D]`, the same in every process.

        The maps become the principal axes of the vectors and their inverse, so that the layer
        leaves less over from its first step. Where a prior is frozen behind them, axis i of the
        vectors goes to axis i of the entries with its variance: without this most frozen entries
        are never the nearest one (paper.md 3, warning).
        """
        if isinstance(self.project_in, Linear) and isinstance(self.project_out, Linear):
            self._place_maps(residual.double(), self.project_in, self.project_out)
        if not self.prior:
            self.codebook.start(self.project_in(residual))
        self.codebook.initialised.fill_(True)

    def _place_maps(self, x: Tensor, into: Linear, out: Linear) -> None:
        mean_x, axes_x, var_x = principal_axes(x)
        rank = self.codebook.entries.shape[1]
        if self.prior:
            mean_c, axes_c, var_c = principal_axes(self.codebook.entries.double())
            rank = min(rank, len(var_x))
            floor = 1e-4 * var_x[0].clamp_min(1e-6)  # axes that a small first batch does not fill
            scale = (var_c[:rank] / var_x[:rank].clamp_min(floor)).sqrt().clamp_min(1e-3)
            there = axes_c[:, :rank] @ torch.diag(scale) @ axes_x[:, :rank].T  # [P, D]
            back = axes_x[:, :rank] @ torch.diag(1 / scale) @ axes_c[:, :rank].T  # [D, P]
        else:
            there = torch.zeros(rank, len(var_x), dtype=x.dtype, device=x.device)
            there[: len(var_x)] = axes_x[:, :rank].T
            back, mean_c = there.T, x.new_zeros(rank)
        into.weight.copy_(there)
        into.bias.copy_(mean_c - there @ mean_x)
        out.weight.copy_(back)
        out.bias.copy_(mean_x - back @ mean_c)


class ResidualQuantizer(nn.Module):
    """K layers, each quantising what the ones before left over."""

    def __init__(self, config: ALMTokenizerConfig):
        super().__init__()
        frozen = {"first": 1, "none": 0, "all": config.num_codebooks}[config.prior_codebooks]
        self.dropout = config.quantizer_dropout
        layers = [QuantizerLayer(config, prior=i < frozen) for i in range(config.num_codebooks)]
        self.layers = cast("list[QuantizerLayer]", nn.ModuleList(layers))

    def forward(self, queries: Tensor, num_quantizers: int | None = None) -> QuantizerOutput:
        """Quantise queries `[B, Q, D]` with the first `num_quantizers` layers (all by default)."""
        batch, count, width = queries.shape
        with torch.autocast(queries.device.type, enabled=False):
            residual = queries.float().reshape(-1, width)  # [N, D]
            outputs, codes, losses = [], [], []
            for layer in self.layers[: num_quantizers or self._drawn_depth()]:
                output, code, loss = layer(residual)
                residual = residual - output.detach()
                outputs.append(output)
                codes.append(code)
                losses.append(loss)
            stacked = torch.stack(outputs, dim=1)  # [N, L, D]
        return QuantizerOutput(
            quantized=stacked.sum(dim=1).reshape(batch, count, width),
            codes=torch.stack(codes).reshape(-1, batch, count).transpose(0, 1).contiguous(),
            commitment_loss=torch.stack(losses).sum(),
            layers=stacked.reshape(batch, count, -1, width),
        )

    @torch.no_grad()
    def start(self, queries: Tensor) -> None:
        """Start every layer on many queries `[N, D]` at once, best several for each entry.

        Every process brings the same queries. Without this call the first training batch does it,
        with what it has.
        """
        residual = queries.float()
        for layer in self.layers:
            layer.start(residual)
            residual = residual - layer.decode(layer.codebook.nearest(layer.project_in(residual)))

    @property
    def started(self) -> bool:
        """Whether every layer has been placed by data."""
        return all(bool(layer.codebook.initialised) for layer in self.layers)

    @torch.no_grad()
    def quantize(self, queries: Tensor) -> Tensor:
        """Return the codes `[B, K, Q]` of queries `[B, Q, D]`; nothing is updated."""
        with torch.autocast(queries.device.type, enabled=False):
            residual, codes = queries.float(), []
            for layer in self.layers:
                code = layer.codebook.nearest(layer.project_in(residual))
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
    def load_prior(self, centroids: Tensor, num_speech: int) -> None:
        """Put semantic centroids `[C, P]` into the frozen codebooks; speech entries come first.

        Raises:
            ValueError: if no layer is frozen, or the shape is not `[C, P]` of the config.
        """
        frozen = [layer for layer in self.layers if layer.prior]
        if not frozen:
            raise ValueError("this codec learns every codebook (prior_codebooks='none')")
        for layer in frozen:
            layer.codebook.freeze_on(centroids, num_speech)

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
