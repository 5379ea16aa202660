"""One layer of the residual quantizer: with a frozen semantic prior, or with a learned codebook.

Both quantize residuals in the space of the queries by one entry of their codebook (paper.md 3 and
4.2, D for details that the paper does not give).

Shapes: `C` entries, `D` width, `P` code width, `N` vectors.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..core.derived import Derived
from ..core.distributed import all_gather, broadcast
from ..core.linear import Linear
from .codebook import Codebook, nearest, principal_axes, search_bias
from .config import ALMTokenizerConfig

# Iterations of assignment and least squares that initialise the map of a frozen codebook.
_ITERATIONS = 20
# Ridge regularisation of the least squares, as a share of the mean variance of the entries.
_RIDGE = 1e-3


@dataclass(frozen=True)
class LayerOutput:
    """Output of one layer for residuals `[N, D]`."""

    output: Tensor  # [N, D] the mapped entries, without gradient to the residuals
    codes: Tensor  # [N] int64
    loss: Tensor  # scalar: commitment loss of the queries and loss of the projections


class QuantizerLayer(nn.Module):
    """Base of the layers: a codebook and a map from its entries to the queries."""

    codebook: Codebook
    commitment_weight: float

    def nearest(self, residual: Tensor) -> Tensor:
        """Return the codes `[...]` of residuals `[..., D]`."""
        raise NotImplementedError

    def compared(self, residual: Tensor) -> tuple[Tensor, Tensor]:
        """Return the vectors `[..., P]` of residuals `[..., D]` and the entries `[C, P]`.

        The code of a residual is the entry nearest to its vector.
        """
        raise NotImplementedError

    def decode(self, codes: Tensor) -> Tensor:
        """Map codes `[...]` to `[..., D]`."""
        raise NotImplementedError

    def initialize(self, residual: Tensor) -> None:
        """Initialise projections and entries from vectors `[N, D]`, the same in all processes."""
        raise NotImplementedError

    def _initialize_once(self, residual: Tensor) -> None:
        if self.training and not self.codebook.initialised:
            self.initialize(all_gather(residual.detach()))
            # Sums on a GPU depend on their order, and may place entries otherwise in each process.
            broadcast([*self.parameters(), *self.buffers()])


class FrozenLayer(QuantizerLayer):
    """Frozen codebook with a trained linear map to the space of the queries.

    The nearest entry is searched among the mapped entries, in the space of the queries, so that the
    map makes the frozen entries follow the queries. A search in the space of the prior, after a map
    of the queries, explained none of the variance of the queries, against 96 % here, on the same
    trained codec.
    """

    def __init__(self, config: ALMTokenizerConfig):
        super().__init__()
        self.project_out = Linear(config.prior_dim, config.hidden_size)
        self.codebook = Codebook(
            config.codebook_size,
            config.prior_dim,
            frozen=True,
            decay=config.codebook_decay,
            dead_code_ratio=config.dead_code_ratio,
        )
        self.commitment_weight = config.prior_commitment_weight
        self._table: Derived[tuple[Tensor, Tensor]] = Derived()

    def table(self) -> Tensor:
        """Return all entries in the space of the queries: `[C, D]`."""
        return self._cached_table()[0]

    def _cached_table(self) -> tuple[Tensor, Tensor]:
        """The table and its search bias, cached until the map or the entries change."""
        if type(self.project_out) is not Linear:  # LoRA: its adapters may be switched at any time
            return self._compute_table()
        sources = (self.project_out.weight, self.project_out.bias, self.codebook.entries)
        return self._table.get(sources, self._compute_table)

    def _compute_table(self) -> tuple[Tensor, Tensor]:
        entries = self.project_out(self.codebook.entries.float())
        return entries, search_bias(entries)

    def forward(self, residual: Tensor) -> LayerOutput:
        """Quantise `[N, D]`; the loss trains the map towards the residuals, like a codebook."""
        self._initialize_once(residual)
        codes = self.nearest(residual)
        if self.training:
            self.codebook.update(residual.detach(), codes)
        output = self.project_out(self.codebook.lookup(codes))
        loss = self.commitment_weight * F.mse_loss(residual, output.detach())
        loss = loss + F.mse_loss(output, residual.detach())
        return LayerOutput(output.detach(), codes, loss)

    @torch.no_grad()
    def nearest(self, residual: Tensor) -> Tensor:
        """Return the codes `[...]` of residuals `[..., D]`."""
        return nearest(residual, *self._cached_table())

    def compared(self, residual: Tensor) -> tuple[Tensor, Tensor]:
        """Return residuals `[..., D]` and the mapped entries `[C, D]`."""
        return residual, self.table()

    def decode(self, codes: Tensor) -> Tensor:
        """Map codes `[...]` to `[..., D]`."""
        if torch.is_grad_enabled():
            return self.project_out(self.codebook.lookup(codes))
        return F.embedding(codes, self.table())

    @torch.no_grad()
    def initialize(self, residual: Tensor) -> None:
        """Initialise the map from vectors `[N, D]`, like k-means with mapped entries as centroids.

        The first map aligns the principal axes of entries and vectors and their variances (without
        it most frozen entries are never the nearest one, paper.md 3). Assignment and least squares
        follow in turn; neither can raise the error.
        """
        # On the CPU in float64, which not every device has.
        x, entries = residual.cpu().double(), self.codebook.entries.cpu().double()
        weight, bias = _align_axes(entries, x)
        for _ in range(_ITERATIONS):
            table = (entries @ weight.T + bias).to(residual)
            weight, bias = _least_squares(entries[nearest(residual, table).cpu()], x)
        self.project_out.weight.copy_(weight)
        self.project_out.bias.copy_(bias)
        self.codebook.initialised.fill_(True)


class LearnedLayer(QuantizerLayer):
    """Learned codebook, between two projections unless it has the width of the queries."""

    def __init__(self, config: ALMTokenizerConfig):
        super().__init__()
        dim, width = config.codebook_dim, config.hidden_size
        self.project_in = Linear(width, dim) if dim != width else nn.Identity()
        self.project_out = Linear(dim, width) if dim != width else nn.Identity()
        self.codebook = Codebook(
            config.codebook_size,
            dim,
            frozen=False,
            decay=config.codebook_decay,
            dead_code_ratio=config.dead_code_ratio,
        )
        self.commitment_weight = config.commitment_weight

    def forward(self, residual: Tensor) -> LayerOutput:
        """Quantise `[N, D]`; the commitment loss is computed in the space of the queries."""
        self._initialize_once(residual)
        latent = self.project_in(residual.detach())  # [N, P]
        codes = self.codebook.nearest(latent.detach())
        entries = self.codebook.lookup(codes)
        if self.training:
            self.codebook.update(latent.detach(), codes)
        quantized = self.project_out(entries)  # [N, D]
        loss = self.commitment_weight * F.mse_loss(residual, quantized.detach())
        if isinstance(self.project_out, Linear):
            loss = loss + F.mse_loss(quantized, residual.detach())
        # Straight-through gradient from entries to latents, which trains project_in.
        output = self.project_out(entries + (latent - latent.detach()))
        return LayerOutput(output, codes, loss)

    @torch.no_grad()
    def nearest(self, residual: Tensor) -> Tensor:
        """Return the codes `[...]` of residuals `[..., D]`."""
        return self.codebook.nearest(self.project_in(residual))

    def compared(self, residual: Tensor) -> tuple[Tensor, Tensor]:
        """Return projected residuals `[..., P]` and the entries `[C, P]`."""
        return self.project_in(residual), self.codebook.entries.float()

    def decode(self, codes: Tensor) -> Tensor:
        """Map codes `[...]` to `[..., D]`."""
        return self.project_out(self.codebook.lookup(codes))

    @torch.no_grad()
    def initialize(self, residual: Tensor) -> None:
        """Initialise projections with principal axes of vectors `[N, D]`, entries by k-means."""
        if isinstance(self.project_in, Linear) and isinstance(self.project_out, Linear):
            mean, axes, variances = principal_axes(residual)
            rank = self.codebook.entries.shape[1]
            basis = torch.zeros(rank, len(variances), dtype=mean.dtype, device=mean.device)
            basis[: len(variances)] = axes[:, :rank].T
            self.project_in.weight.copy_(basis)
            self.project_in.bias.copy_(-basis @ mean)
            self.project_out.weight.copy_(basis.T)
            self.project_out.bias.copy_(mean)
        self.codebook.initialize(self.project_in(residual))


def _align_axes(entries: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """Affine map `[D, P]`, `[D]` that gives entries `[C, P]` mean and variances of `x` `[N, D]`."""
    mean_x, axes_x, var_x = principal_axes(x)
    mean_c, axes_c, var_c = principal_axes(entries)
    rank = min(len(var_x), len(var_c))
    scale = (var_x[:rank] / var_c[:rank].clamp_min(1e-4 * var_c[0])).sqrt()
    weight = (axes_x[:, :rank] * scale) @ axes_c[:, :rank].T
    return weight, mean_x - weight @ mean_c


def _least_squares(entries: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """Affine map `[D, P]`, `[D]` of entries `[N, P]` with least squared error to `x` `[N, D]`."""
    mean_c, mean_x = entries.mean(dim=0), x.mean(dim=0)
    centred = entries - mean_c
    gram = centred.T @ centred
    ridge = (_RIDGE * gram.diagonal().mean()).clamp_min(1e-12)
    eye = torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
    weight = torch.linalg.solve(gram + ridge * eye, centred.T @ (x - mean_x)).T
    return weight, mean_x - weight @ mean_c
