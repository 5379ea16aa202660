"""Codebook: nearest entry, exponential moving averages, k-means initialization, dead entries.

Counts, sums and samples are combined over all processes, so that every process has the same
codebook as a single process with the whole batch.

Shapes: `C` entries, `P` code width, `N` vectors.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..core.derived import Derived
from ..core.distributed import all_gather, all_sum
from ..core.linear import linear


@dataclass(frozen=True)
class LayerUsage:
    """Use of one codebook during about the last hundred updates."""

    usage: float  # share of the entries that are in use
    perplexity: float  # exp of the entropy of the codes: at most C
    speech_usage: float | None = None  # the same share in the speech half of a semantic prior
    sound_usage: float | None = None  # the same share in its sound half
    speech_share: float | None = None  # share of codes in the speech half


class Codebook(nn.Module):
    """Codebook that is frozen (a semantic prior) or learned by exponential moving averages.

    Args:
        size: number of entries `C`.
        dim: width of an entry `P`.
        frozen: the entries are never updated.
        decay: of the moving averages.
        dead_code_ratio: an entry is dead if its use is below this share of the average use; a dead
            entry is replaced by a vector of the current batch (not in a frozen codebook).
    """

    entries: Tensor
    count: Tensor
    total: Tensor
    initialised: Tensor
    num_speech: Tensor

    def __init__(
        self,
        size: int,
        dim: int,
        *,
        frozen: bool,
        decay: float = 0.99,
        dead_code_ratio: float = 0.1,
    ):
        super().__init__()
        self.frozen = frozen
        self.decay = decay
        self.dead_code_ratio = dead_code_ratio
        self.register_buffer("entries", torch.empty(size, dim))
        self.register_buffer("count", torch.ones(size))  # moving average of uses per update
        self.register_buffer("total", torch.empty(0 if frozen else size, dim))
        self.register_buffer("initialised", torch.tensor(False))
        self.register_buffer("num_speech", torch.tensor(size // 2 if frozen else 0))
        self._bias: Derived[Tensor] = Derived()
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw random entries, for codecs without a prior file or before training."""
        size, dim = self.entries.shape
        generator = torch.Generator().manual_seed(size * 1_000_003 + dim)
        self.entries.copy_(torch.randn(size, dim, generator=generator) / dim**0.5)
        self.count.fill_(1.0)
        self.initialised.fill_(False)
        self.restore_total()

    def restore_total(self) -> None:
        """Compute the sums from entries and counts: the included checkpoints leave them out."""
        if not self.frozen:
            self.total.copy_(self.entries * self.count[:, None])

    def nearest(self, x: Tensor) -> Tensor:
        """Return the indices `[...]` (int64) of the entries nearest to vectors `[..., P]`."""
        entries = self.entries.float()
        return nearest(x.float(), entries, self._bias.get((entries,), lambda: search_bias(entries)))

    def lookup(self, codes: Tensor) -> Tensor:
        """Return the entries of codes: `[...]` to `[..., P]`."""
        return F.embedding(codes, self.entries.float())

    @torch.no_grad()
    def update(self, x: Tensor, codes: Tensor) -> None:
        """Update the moving averages with vectors `[N, P]` and their codes `[N]`."""
        size = self.entries.shape[0]
        hits = torch.bincount(codes, minlength=size).to(self.count.dtype)
        if self.frozen:
            self.count.lerp_(all_sum(hits), 1 - self.decay)
            return
        sums = torch.zeros_like(self.total).index_add_(0, codes, x.float())
        joint = all_sum(torch.cat([hits[:, None], sums], dim=1))
        self.count.lerp_(joint[:, 0], 1 - self.decay)
        self.total.lerp_(joint[:, 1:], 1 - self.decay)
        self._replace_dead_entries(x)
        # Laplace smoothing keeps entries of tiny counts finite (EnCodec).
        count_sum, epsilon = self.count.sum(), 1e-5
        smoothed = (self.count + epsilon) / (count_sum + size * epsilon) * count_sum
        self.entries.copy_(self.total / smoothed[:, None].clamp_min(1e-12))

    @torch.no_grad()
    def initialize(self, x: Tensor, iterations: int = 10) -> None:
        """Initialise the entries by k-means on vectors `[N, P]`, the same in every process.

        If there are fewer vectors than entries, entries are copies with added noise, most of which
        are replaced later as dead entries.
        """
        x = x.float()
        size = self.entries.shape[0]
        order = torch.randperm(len(x), device=x.device)
        chosen = x[order[torch.arange(size, device=x.device) % len(x)]]
        if len(x) < size:
            chosen = chosen + 1e-3 * x.std() * torch.randn_like(chosen)
        self.entries.copy_(chosen)
        for _ in range(iterations if len(x) > size else 0):
            codes = self.nearest(x)
            hits = torch.bincount(codes, minlength=size).to(x.dtype)
            sums = torch.zeros_like(self.entries).index_add_(0, codes, x)
            empty = hits == 0
            self.entries.copy_(sums / hits.clamp_min(1)[:, None])
            random_vectors = x[torch.randint(len(x), (size,), device=x.device)]
            self.entries[empty] = random_vectors[empty]
        self.count.fill_(len(x) / size)
        self.restore_total()
        self.initialised.fill_(True)

    def usage(self) -> LayerUsage:
        """Return usage and perplexity, from the moving average of uses."""
        share = self.count / self.count.sum().clamp_min(1e-12)
        used = share * len(share) > self.dead_code_ratio
        entropy = -(share * share.clamp_min(1e-12).log()).sum()
        usage, perplexity = float(used.float().mean()), float(entropy.exp())
        if not self.frozen:
            return LayerUsage(usage, perplexity)
        split = int(self.num_speech)
        return LayerUsage(
            usage,
            perplexity,
            speech_usage=float(used[:split].float().mean()),
            sound_usage=float(used[split:].float().mean()),
            speech_share=float(share[:split].sum()),
        )

    @torch.no_grad()
    def load_centroids(self, centroids: Tensor, num_speech: int) -> bool:
        """Load centroids `[C, P]` as the frozen entries; the first `num_speech` are speech.

        Returns:
            Whether the entries were these centroids before; then nothing changes.
        """
        if centroids.shape != self.entries.shape:
            raise ValueError(
                f"centroids must have shape {tuple(self.entries.shape)} (codebook_size, prior_dim),"
                f" got {tuple(centroids.shape)}"
            )
        if not 0 <= num_speech <= len(centroids):
            raise ValueError(f"num_speech must lie in 0..{len(centroids)}, got {num_speech}")
        centroids = centroids.to(self.entries)
        if int(self.num_speech) == num_speech and torch.equal(self.entries, centroids):
            return True
        self.entries.copy_(centroids)
        self.num_speech.fill_(num_speech)
        self.initialised.fill_(False)
        return False

    def _replace_dead_entries(self, x: Tensor) -> None:
        """Replace dead entries by random vectors of the batch.

        The threshold is a share of the average use, so it scales with batch size and number of
        processes: below a fixed threshold all entries would be dead in a small batch.
        """
        average = self.count.mean()
        dead = self.count < self.dead_code_ratio * average
        if not bool(dead.any()):
            return
        pool = all_gather(x.float())
        drawn = pool[torch.randint(len(pool), (int(dead.sum()),), device=pool.device)]
        self.count[dead] = average
        self.total[dead] = drawn * average


def nearest(x: Tensor, entries: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return the indices `[...]` (int64) of the entries nearest in Euclidean distance.

    Args:
        x: vectors `[..., P]`.
        entries: `[C, P]`.
        bias: :func:`search_bias` of the entries, if it is cached.
    """
    # argmin |x - e|^2 = argmax x.e - |e|^2 / 2
    bias = search_bias(entries) if bias is None else bias
    return linear(x, entries, bias).argmax(dim=-1)


def search_bias(entries: Tensor) -> Tensor:
    """Return `-|e|^2 / 2` of entries `[C, P]`: `[C]`."""
    return -0.5 * entries.square().sum(dim=1)


def principal_axes(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean `[D]`, principal axes `[D, D]` (columns) and variances `[D]` of vectors `[N, D]`.

    Variances descend. Computed on the CPU in float64, which not every device has: in float32 the
    rounding of large axes would hide small ones.
    """
    x = x.cpu().double()
    mean = x.mean(dim=0)
    variances, axes = torch.linalg.eigh((x - mean).T @ (x - mean) / max(1, len(x) - 1))
    return mean, axes.flip(1), variances.flip(0).clamp_min(0)
