"""Mini-batch k-means with a seeded k-means++ initialization that resumes bit for bit.

Every random draw is a function of (seed, phase, step), so a saved state holds no generator.

Shapes: ``N`` vectors, ``P`` width, ``C`` clusters, ``n`` vectors of one batch.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor
from tqdm import tqdm

from .config import KMeansConfig
from .files import load_tensors, save_tensors

# Distances are computed for this many vectors at once: [CHUNK, C] float32 is 32 MB at C = 1024.
CHUNK = 8192
INIT, EPOCH, RESEED = range(3)  # phases of random draws


class Vectors(Protocol):
    """Vectors that are read a few at a time: rows of a tensor or shards on disk."""

    @property
    def shape(self) -> tuple[int, int]:
        """(N, P)."""

    def gather(self, rows: Tensor) -> Tensor:
        """Return the rows [n] as float32 [n, P]."""


@dataclass(frozen=True)
class TensorVectors:
    """Rows of a tensor in memory."""

    data: Tensor  # [N, P]

    @property
    def shape(self) -> tuple[int, int]:
        """(N, P)."""
        return self.data.shape[0], self.data.shape[1]

    def gather(self, rows: Tensor) -> Tensor:
        """Return the rows [n] as float32 [n, P]."""
        return self.data[rows].float()


@dataclass(frozen=True)
class Clusters:
    """Result of k-means."""

    centroids: Tensor  # [C, P] float32
    counts: Tensor  # [C] int64, vectors of each cluster in the last full pass
    inertia: float  # mean squared distance of a vector to its centroid
    passes: int  # full passes that were made


def kmeans(
    vectors: Vectors,
    config: KMeansConfig,
    *,
    state_path: Path | None = None,
    device: str | torch.device = "cpu",
    label: str = "k-means",
) -> Clusters:
    """Cluster ``vectors`` by mini-batches, then by Lloyd passes over all of them.

    Args:
        vectors: N vectors of width P, N at least ``config.clusters``.
        config: sizes, epochs, seed.
        state_path: file of the state, from which a stopped run resumes; kept at the end.
        device: where distances are computed.
        label: of the progress bar.

    Raises:
        ValueError: if there are too few vectors, or the state is of other vectors or settings.
    """
    if vectors.shape[0] < config.clusters:
        raise ValueError(f"{config.clusters} clusters need as many vectors, got {vectors.shape[0]}")
    run = KMeansRun(vectors, config, device, state_path)
    steps = run.batches * config.epochs
    with tqdm(total=steps + config.passes, initial=run.step, desc=label, unit="step") as bar:
        while run.step < steps:
            run.minibatch()
            if run.step % config.save_every == 0 or run.step == steps:
                run.save()
            bar.update()
        bar.update(run.passes)
        while run.passes < config.passes and not run.settled:
            run.full_pass()
            run.save()
            bar.set_postfix(inertia=f"{run.inertia:.4g}")
            bar.update()
    counts, inertia, _ = run.measure()
    return Clusters(run.centroids, counts.long(), inertia, run.passes)


class KMeansRun:
    """State of one clustering, resumed from ``path`` if it exists.

    All state is on the CPU, where sums are in float64: not every device supports it.
    """

    def __init__(
        self,
        vectors: Vectors,
        config: KMeansConfig,
        device: str | torch.device = "cpu",
        path: Path | None = None,
    ) -> None:
        self.vectors, self.config, self.device, self.path = vectors, config, device, path
        self.batches = -(-vectors.shape[0] // config.batch_size)  # of an epoch
        self.centroids: Tensor  # [C, P] float32
        self.weights = torch.zeros(config.clusters, dtype=torch.float64)  # vectors in the mean
        self.recent = self.weights.clone()  # vectors assigned in this epoch
        self.step = 0  # mini-batch steps done
        self.passes = 0  # full passes done
        self.inertia = float("inf")  # of the last full pass
        self.settled = False
        self._order: tuple[int, Tensor] | None = None  # an epoch and its permutation of the vectors
        if path is not None and path.is_file():
            self._load(path)
        else:
            sample, generator = self._sample(INIT, 0, max(config.init_vectors, 3 * config.clusters))
            chosen = plus_plus(sample - sample.mean(0), config.clusters, generator)
            self.centroids = sample[chosen].cpu()
            self.save()

    def minibatch(self) -> None:
        """Move each centroid to its running mean; at an epoch's end revive weak clusters."""
        config, total = self.config, self.vectors.shape[0]
        epoch, batch = divmod(self.step, self.batches)
        if self._order is None or self._order[0] != epoch:
            order = torch.randperm(total, generator=self._generator(EPOCH, epoch))
            self._order = (epoch, order)
        rows = self._order[1][batch * config.batch_size : (batch + 1) * config.batch_size]
        data = self.vectors.gather(rows.sort().values).to(self.device)
        labels, distances = assign(data, self.centroids.to(self.device))
        sums, counts = _sums(data, labels, config.clusters)
        self.weights = self.weights + counts
        moves = sums - counts[:, None] * self.centroids
        self.centroids = (self.centroids + moves / self.weights.clamp(min=1)[:, None]).float()
        self.recent = self.recent + counts
        if batch + 1 == self.batches:
            weak = self.recent < max(1.0, config.reseed_share * total / config.clusters)
            self._revive(weak, data, distances, self._generator(RESEED, self.step))
            # A moved centroid gets no weight, so that it follows its new neighbours at once.
            self.weights = torch.where(weak, torch.zeros_like(self.weights), self.weights)
            self.recent = torch.zeros_like(self.recent)
        self.step += 1

    def full_pass(self) -> None:
        """Move each centroid to the mean of its vectors (Lloyd); revive empty clusters."""
        counts, inertia, sums = self.measure()
        means = (sums / counts.clamp(min=1)[:, None]).float()
        empty = counts == 0
        self.centroids = torch.where(empty[:, None], self.centroids, means)
        if bool(empty.any()):
            size = max(CHUNK, self.config.clusters)
            data, generator = self._sample(RESEED, -1 - self.passes, size)
            distances = assign(data, self.centroids.to(self.device))[1]
            self._revive(empty, data, distances, generator)
        gain = self.inertia - inertia
        self.settled = not bool(empty.any()) and gain <= self.config.tolerance * inertia
        self.inertia = inertia
        self.passes += 1

    def measure(self) -> tuple[Tensor, float, Tensor]:
        """Return vectors per cluster [C], mean squared distance and sums per cluster [C, P]."""
        clusters, width = self.centroids.shape
        counts = torch.zeros(clusters, dtype=torch.float64)
        sums = torch.zeros(clusters, width, dtype=torch.float64)
        squared = 0.0
        centroids = self.centroids.to(self.device)
        for data in self._chunks():
            labels, distances = assign(data, centroids)
            more, count = _sums(data, labels, clusters)
            sums += more
            counts += count
            squared += float(distances.cpu().double().sum())
        return counts, squared / self.vectors.shape[0], sums

    def save(self) -> None:
        """Write the state if it has a place."""
        if self.path is None:
            return
        tensors = {"centroids": self.centroids, "weights": self.weights, "recent": self.recent}
        about = {
            "config": asdict(self.config),
            "shape": list(self.vectors.shape),
            "step": self.step,
            "passes": self.passes,
            "inertia": self.inertia.hex(),  # exact, and JSON has no infinity
            "settled": self.settled,
        }
        save_tensors(self.path, tensors, about)

    def _load(self, path: Path) -> None:
        tensors, about = load_tensors(path)
        current = (("config", asdict(self.config)), ("shape", list(self.vectors.shape)))
        for name, here in current:
            if about[name] != here:
                raise ValueError(
                    f"{path} belongs to another run: its {name} is {about[name]}, now it is {here}"
                )
        self.centroids, self.weights = tensors["centroids"], tensors["weights"]
        self.recent = tensors["recent"]
        self.step, self.passes = about["step"], about["passes"]
        self.inertia, self.settled = float.fromhex(about["inertia"]), about["settled"]

    def _revive(
        self, weak: Tensor, data: Tensor, distances: Tensor, generator: torch.Generator
    ) -> None:
        """Move the ``weak`` [C] centroids onto vectors of ``data``, drawn by squared distance."""
        needed = int(weak.sum())
        chances = distances.cpu().double()
        if needed == 0 or int((chances > 0).sum()) < needed:
            return
        rows = torch.multinomial(chances, needed, generator=generator).to(data.device)
        self.centroids = self.centroids.clone()
        self.centroids[weak] = data[rows].cpu()

    def _generator(self, phase: int, step: int) -> torch.Generator:
        mixed = (self.config.seed * 1_000_003 + phase) * 1_000_003 + step
        return torch.Generator().manual_seed(mixed % (1 << 63))

    def _sample(self, phase: int, step: int, size: int) -> tuple[Tensor, torch.Generator]:
        """Up to `size` random vectors [n, P], and the generator that drew them."""
        generator, total = self._generator(phase, step), self.vectors.shape[0]
        rows = torch.randperm(total, generator=generator)[: min(total, size)].sort().values
        return self.vectors.gather(rows).to(self.device), generator

    def _chunks(self) -> Iterator[Tensor]:
        total = self.vectors.shape[0]
        for start in range(0, total, CHUNK):
            rows = torch.arange(start, min(start + CHUNK, total))
            yield self.vectors.gather(rows).to(self.device)


def assign(vectors: Tensor, centroids: Tensor) -> tuple[Tensor, Tensor]:
    """Return the nearest centroid of each vector and the squared distance to it.

    Args:
        vectors: [n, P] float32.
        centroids: [C, P] float32.

    Returns:
        Labels [n] int64 and squared distances [n] float32.
    """
    # |x|^2 - 2xc + |c|^2 cancels badly far from the origin, so both move to the centroids' mean.
    offset = centroids.mean(0)
    centroids = centroids - offset
    squares = centroids.square().sum(1)
    labels, distances = [], []
    for chunk in vectors.split(CHUNK):
        chunk = chunk - offset
        nearest = torch.addmm(squares, chunk, centroids.T, alpha=-2).min(1)
        labels.append(nearest.indices)
        distances.append((nearest.values + chunk.square().sum(1)).clamp(min=0))
    return torch.cat(labels), torch.cat(distances)


def plus_plus(sample: Tensor, clusters: int, generator: torch.Generator) -> Tensor:
    """Return the row numbers [C] of a greedy k-means++ initialization.

    Each new centroid is the best of a few candidates drawn with probability proportional to the
    squared distance (Arthur and Vassilvitskii 2007; candidates as in scikit-learn, at most 8).
    """
    size = sample.shape[0]
    trials = min(8, 2 + int(torch.tensor(float(clusters)).log()))
    squares = sample.square().sum(1)
    first = int(torch.randint(size, (1,), generator=generator))
    chosen = [first]
    nearest = (squares - 2 * (sample @ sample[first]) + squares[first]).clamp(min=0)  # [n]
    nearest[first] = 0
    for _ in tqdm(range(1, clusters), desc="k-means++", unit="centroid", leave=False):
        cumulative = nearest.cpu().double().cumsum(0)
        # Every vector equals a chosen one: take any row; later steps separate duplicates.
        if float(cumulative[-1]) == 0.0:
            chosen.append(int(torch.randint(size, (1,), generator=generator)))
            continue
        draws = torch.rand(trials, generator=generator, dtype=torch.float64)
        rows = torch.searchsorted(cumulative, draws * cumulative[-1]).clamp(max=size - 1)
        rows = rows.to(sample.device)
        distances = torch.addmm(squares, sample[rows], sample.T, alpha=-2) + squares[rows, None]
        candidates = torch.minimum(distances.clamp(min=0), nearest)  # [trials, n]
        best = int(candidates.sum(1).argmin())
        nearest = candidates[best]
        chosen.append(int(rows[best]))
        nearest[chosen[-1]] = 0
    return torch.tensor(chosen, device=sample.device)


def _sums(data: Tensor, labels: Tensor, clusters: int) -> tuple[Tensor, Tensor]:
    """Return the sum [C, P] and number [C] of the vectors of each cluster, float64 on the CPU."""
    counts = torch.bincount(labels.cpu(), minlength=clusters).double()
    if data.device.type != "cpu":  # index_add_ is not deterministic there
        members = torch.nn.functional.one_hot(labels, clusters).to(data.dtype)
        return (members.T @ data).cpu().double(), counts
    sums = torch.zeros(clusters, data.shape[1], dtype=torch.float64)
    return sums.index_add_(0, labels, data.double()), counts
