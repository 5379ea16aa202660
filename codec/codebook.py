"""One codebook: nearest entry, exponential moving average, k-means start, revival of dead entries.

Written for several processes: counts, sums and samples are combined over all of them, so that every
process keeps the same codebook (and the same as one process with the whole batch would).

Letters: `C` entries, `P` code width, `N` vectors.
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
    """How one codebook was used over about the last hundred updates."""

    usage: float  # share of the entries that are alive
    perplexity: float  # exp of the entropy of the entries' use: at most C
    speech_usage: float | None = None  # the same share in the speech half of a semantic prior
    sound_usage: float | None = None  # and in its sound half
    speech_share: float | None = None  # share of all codes that fall into the speech half


class Codebook(nn.Module):
    """`C` entries of width `P`; frozen (a semantic prior) or following its inputs.

    Args:
        size: `C`.
        dim: `P`.
        frozen: the entries never move.
        decay: of the moving averages.
        dead_code_ratio: an entry whose use is below this share of the average is dead, and is
            replaced by a vector of the current batch (not in a frozen codebook).
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
        self.register_buffer("count", torch.ones(size))  # moving average of hits per update
        self.register_buffer("total", torch.empty(0 if frozen else size, dim))
        self.register_buffer("initialised", torch.tensor(False))
        self.register_buffer("num_speech", torch.tensor(size // 2 if frozen else 0))
        self._bias: Derived[Tensor] = Derived()
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the entries: what a codec without a prior file, or before training, works with."""
        size, dim = self.entries.shape
        generator = torch.Generator().manual_seed(size * 1_000_003 + dim)
        self.entries.copy_(torch.randn(size, dim, generator=generator) / dim**0.5)
        self.count.fill_(1.0)
        self.initialised.fill_(False)
        self.restore_total()

    def restore_total(self) -> None:
        """The sums as entries and counts have them: shipped files leave them out."""
        if not self.frozen:
            self.total.copy_(self.entries * self.count[:, None])

    def nearest(self, x: Tensor) -> Tensor:
        """Return the index of the nearest entry (Euclidean): `[..., P]` to `[...]` int64."""
        entries = self.entries.float()
        return nearest(x.float(), entries, self._bias.get((entries,), lambda: search_bias(entries)))

    def lookup(self, codes: Tensor) -> Tensor:
        """Return the entries of codes: `[...]` to `[..., P]`."""
        return F.embedding(codes, self.entries.float())

    @torch.no_grad()
    def update(self, x: Tensor, codes: Tensor) -> None:
        """Move the averages by one batch: vectors `[N, P]` and their codes `[N]`."""
        size = self.entries.shape[0]
        hits = torch.bincount(codes, minlength=size).to(self.count.dtype)
        if self.frozen:
            self.count.lerp_(all_sum(hits), 1 - self.decay)
            return
        sums = torch.zeros_like(self.total).index_add_(0, codes, x.float())
        joint = all_sum(torch.cat([hits[:, None], sums], dim=1))
        self.count.lerp_(joint[:, 0], 1 - self.decay)
        self.total.lerp_(joint[:, 1:], 1 - self.decay)
        self._revive(x)
        # Laplace smoothing keeps entries of tiny counts finite (EnCodec).
        whole, epsilon = self.count.sum(), 1e-5
        smooth = (self.count + epsilon) / (whole + size * epsilon) * whole
        self.entries.copy_(self.total / smooth[:, None].clamp_min(1e-12))

    @torch.no_grad()
    def initialize(self, x: Tensor, iterations: int = 10) -> None:
        """Place the entries by k-means on vectors `[N, P]`, the same in every process.

        With fewer vectors than entries, the spare entries are jittered copies: revival moves them.
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
            spare = x[torch.randint(len(x), (size,), device=x.device)]
            self.entries[empty] = spare[empty]
        self.count.fill_(len(x) / size)
        self.restore_total()
        self.initialised.fill_(True)

    def usage(self) -> LayerUsage:
        """Return usage and perplexity of the moving average of hits."""
        share = self.count / self.count.sum().clamp_min(1e-12)
        alive = share * len(share) > self.dead_code_ratio
        entropy = -(share * share.clamp_min(1e-12).log()).sum()
        result = (float(alive.float().mean()), float(entropy.exp()))
        if not self.frozen:
            return LayerUsage(*result)
        split = int(self.num_speech)
        speech, sound = alive[:split].float().mean(), alive[split:].float().mean()
        return LayerUsage(*result, float(speech), float(sound), float(share[:split].sum()))

    @torch.no_grad()
    def freeze_on(self, centroids: Tensor, num_speech: int) -> bool:
        """Take centroids `[C, P]` as the frozen entries; the first `num_speech` are speech.

        Returns:
            Whether they were there already: then all stays as it is, and placed what was placed.
        """
        if centroids.shape != self.entries.shape:
            raise ValueError(
                f"prior of {tuple(centroids.shape)} centroids came, the codec expects "
                f"{tuple(self.entries.shape)} (codebook_size, prior_dim)"
            )
        if not 0 <= num_speech <= len(centroids):
            raise ValueError(f"num_speech {num_speech} is outside 0..{len(centroids)}")
        centroids = centroids.to(self.entries)
        if int(self.num_speech) == num_speech and torch.equal(self.entries, centroids):
            return True
        self.entries.copy_(centroids)
        self.num_speech.fill_(num_speech)
        self.initialised.fill_(False)
        return False

    def _revive(self, x: Tensor) -> None:
        """Replace dead entries by random vectors of the batch.

        The bound is a share of the average use, so it follows batch size and process count: a
        fixed bound kills a healthy codebook as soon as a batch has few tokens.
        """
        average = self.count.mean()
        dead = self.count < self.dead_code_ratio * average
        if not bool(dead.any()):
            return
        pool = all_gather(x.float())
        picked = pool[torch.randint(len(pool), (int(dead.sum()),), device=pool.device)]
        self.count[dead] = average
        self.total[dead] = picked * average


def nearest(x: Tensor, entries: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return the index of the nearest of entries `[C, P]` for vectors `[..., P]`: `[...]` int64.

    `bias` is what :func:`search_bias` makes of the entries, for those who keep it.
    """
    # argmin |x - e|^2 = argmax x.e - |e|^2 / 2
    bias = search_bias(entries) if bias is None else bias
    return linear(x, entries, bias).argmax(dim=-1)


def search_bias(entries: Tensor) -> Tensor:
    """Return `-|e|^2 / 2` of entries `[C, P]`: `[C]`."""
    return -0.5 * entries.square().sum(dim=1)


def principal_axes(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean `[D]`, axes `[D, D]` (columns) and variances `[D]` of vectors `[N, D]`, descending.

    On the CPU in float64: small axes are lost in the rounding of large ones, codecs are placed only
    once, and not every device has float64 or eigenvalues.
    """
    x = x.cpu().double()
    mean = x.mean(dim=0)
    variances, axes = torch.linalg.eigh((x - mean).T @ (x - mean) / max(1, len(x) - 1))
    return mean, axes.flip(1), variances.flip(0).clamp_min(0)
