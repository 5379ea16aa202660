"""One layer of the residual quantizer, in two kinds: frozen on a semantic prior, or learned.

Both take the residual in the space of the queries and say it by one entry of their codebook
(paper.md 3 and 4.2, D for all that the paper leaves open).

Letters: `C` entries, `D` width, `P` code width, `N` vectors.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..core.derived import Derived
from ..core.distributed import all_gather
from ..core.linear import Linear
from .codebook import Codebook, nearest, principal_axes, search_bias
from .config import ALMTokenizerConfig

# Rounds of assignment and least squares that place the map of a frozen codebook.
_PLACEMENT_ROUNDS = 20
# Ridge of these least squares, as a share of the entries' mean variance.
_RIDGE = 1e-3


@dataclass(frozen=True)
class LayerOutput:
    """What one layer makes of residuals `[N, D]`."""

    output: Tensor  # [N, D] the mapped entries; no gradient goes to the residuals
    codes: Tensor  # [N] int64
    loss: Tensor  # scalar: commitment of the queries, and what teaches the layer's own maps


class QuantizerLayer(nn.Module):
    """What both kinds share: a codebook, and a way from its entries to the queries."""

    codebook: Codebook
    commitment_weight: float

    def nearest(self, residual: Tensor) -> Tensor:
        """Return the codes `[...]` of residuals `[..., D]`."""
        raise NotImplementedError

    def decode(self, codes: Tensor) -> Tensor:
        """Map codes `[...]` to `[..., D]`."""
        raise NotImplementedError

    def initialize(self, residual: Tensor) -> None:
        """Place maps and entries by vectors `[N, D]`, the same in every process."""
        raise NotImplementedError

    def _initialize_once(self, residual: Tensor) -> None:
        if self.training and not self.codebook.initialised:
            self.initialize(all_gather(residual.detach()))


class FrozenLayer(QuantizerLayer):
    """A frozen codebook, seen among the queries through a linear map that learns.

    The nearest entry is looked for among the mapped entries, in the space of the queries: the map
    then carries the whole frozen cloud after the queries. Searching in the prior's own space
    instead, behind a map of the queries, was tried and left the first layer idle: its codes took
    nothing off the queries' variance, against 96 % here, on the same trained codec.
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
        """Return all entries as the queries see them: `[C, D]`."""
        return self._prepared()[0]

    def _prepared(self) -> tuple[Tensor, Tensor]:
        """The table and its bias for the search, kept while neither map nor entries change."""
        if type(self.project_out) is not Linear:  # LoRA: its adapters may be switched at any time
            return self._prepare()
        sources = (self.project_out.weight, self.project_out.bias, self.codebook.entries)
        return self._table.get(sources, self._prepare)

    def _prepare(self) -> tuple[Tensor, Tensor]:
        entries = self.project_out(self.codebook.entries.float())
        return entries, search_bias(entries)

    def forward(self, residual: Tensor) -> LayerOutput:
        """Quantise `[N, D]`; the map learns to reach the residuals, as a codebook's update does."""
        self._initialize_once(residual)
        codes = self.nearest(residual)
        if self.training:
            self.codebook.update(residual.detach(), codes)
        said = self.project_out(self.codebook.lookup(codes))
        loss = self.commitment_weight * F.mse_loss(residual, said.detach())
        loss = loss + F.mse_loss(said, residual.detach())
        return LayerOutput(said.detach(), codes, loss)

    @torch.no_grad()
    def nearest(self, residual: Tensor) -> Tensor:
        """Return the codes `[...]` of residuals `[..., D]`."""
        return nearest(residual, *self._prepared())

    def decode(self, codes: Tensor) -> Tensor:
        """Map codes `[...]` to `[..., D]`."""
        if torch.is_grad_enabled():
            return self.project_out(self.codebook.lookup(codes))
        return F.embedding(codes, self.table())

    @torch.no_grad()
    def initialize(self, residual: Tensor) -> None:
        """Place the map by vectors `[N, D]`: k-means whose centroids stay a map of the entries.

        The first map takes axis i of the entries to axis i of the vectors, with its variance
        (without it most frozen entries are never the nearest one, paper.md 3). Then
        assignment and least squares in turn, each of which can only lower the error.
        """
        # Least squares on the CPU in float64, which not every device has: once, and well-rounded.
        x, entries = residual.cpu().double(), self.codebook.entries.cpu().double()
        weight, bias = _axis_to_axis(entries, x)
        for _ in range(_PLACEMENT_ROUNDS):
            table = (entries @ weight.T + bias).to(residual)
            weight, bias = _least_squares(entries[nearest(residual, table).cpu()], x)
        self.project_out.weight.copy_(weight)
        self.project_out.bias.copy_(bias)
        self.codebook.initialised.fill_(True)


class LearnedLayer(QuantizerLayer):
    """A codebook that follows what it quantises, between two maps unless it lives among them."""

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
        """Quantise `[N, D]`; the commitment is measured among the queries, where all are alike."""
        self._initialize_once(residual)
        latent = self.project_in(residual.detach())  # [N, P]
        codes = self.codebook.nearest(latent.detach())
        entries = self.codebook.lookup(codes)
        if self.training:
            self.codebook.update(latent.detach(), codes)
        said = self.project_out(entries)  # [N, D]
        loss = self.commitment_weight * F.mse_loss(residual, said.detach())
        if isinstance(self.project_out, Linear):
            loss = loss + F.mse_loss(said, residual.detach())
        # Straight through, from entries to latents: this is how the map into the code space learns.
        output = self.project_out(entries + (latent - latent.detach()))
        return LayerOutput(output, codes, loss)

    @torch.no_grad()
    def nearest(self, residual: Tensor) -> Tensor:
        """Return the codes `[...]` of residuals `[..., D]`."""
        return self.codebook.nearest(self.project_in(residual))

    def decode(self, codes: Tensor) -> Tensor:
        """Map codes `[...]` to `[..., D]`."""
        return self.project_out(self.codebook.lookup(codes))

    @torch.no_grad()
    def initialize(self, residual: Tensor) -> None:
        """Place the maps on the principal axes of vectors `[N, D]`, the entries by k-means."""
        if isinstance(self.project_in, Linear) and isinstance(self.project_out, Linear):
            mean, axes, variances = principal_axes(residual)
            rank = self.codebook.entries.shape[1]
            there = torch.zeros(rank, len(variances), dtype=mean.dtype, device=mean.device)
            there[: len(variances)] = axes[:, :rank].T
            self.project_in.weight.copy_(there)
            self.project_in.bias.copy_(-there @ mean)
            self.project_out.weight.copy_(there.T)
            self.project_out.bias.copy_(mean)
        self.codebook.initialize(self.project_in(residual))


def _axis_to_axis(entries: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """The map `[D, P]`, `[D]` that gives entries `[C, P]` mean and variances of `x` `[N, D]`."""
    mean_x, axes_x, var_x = principal_axes(x)
    mean_c, axes_c, var_c = principal_axes(entries)
    rank = min(len(var_x), len(var_c))
    scale = (var_x[:rank] / var_c[:rank].clamp_min(1e-4 * var_c[0])).sqrt()
    weight = (axes_x[:, :rank] * scale) @ axes_c[:, :rank].T
    return weight, mean_x - weight @ mean_c


def _least_squares(chosen: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """The map `[D, P]`, `[D]` that takes chosen entries `[N, P]` nearest to `x` `[N, D]`."""
    mean_c, mean_x = chosen.mean(dim=0), x.mean(dim=0)
    centred = chosen - mean_c
    gram = centred.T @ centred
    ridge = (_RIDGE * gram.diagonal().mean()).clamp_min(1e-12)
    eye = torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
    weight = torch.linalg.solve(gram + ridge * eye, centred.T @ (x - mean_x)).T
    return weight, mean_x - weight @ mean_c
