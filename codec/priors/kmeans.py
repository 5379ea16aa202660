"""Mini-batch k-means that can be killed and goes on: k-means++ start, seeded, chunked.

Every random draw is a function of (seed, phase, step), so the saved state is centroids and a
position, no generator. A run that was killed and started again ends with the same bits.

Letters: ``N`` vectors, ``P`` width, ``C`` clusters, ``n`` vectors of one batch.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor
from tqdm import tqdm

from .config import KMeansConfig
from .files import load_tensors, save_tensors

# Distances are computed for this many vectors at once: [CHUNK, C] float32 is 32 MB at C = 1024.
CHUNK = 8192
INIT, EPOCH, RESEED = range(3)  # what a random draw is for


class Vectors(Protocol):
    """Many vectors, read a few at a time: a tensor's rows or shards on disk."""

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
    """What k-means found."""

    centroids: Tensor  # [C, P] float32
    counts: Tensor  # [C] int64, vectors of each cluster in the last full pass
    inertia: float  # mean squared distance of a vector to its centroid
    passes: int  # full passes that were made


@dataclass(frozen=True)
class _State:
    # All of it on the CPU, where sums are in float64: not every device has that.
    centroids: Tensor  # [C, P] float32
    weights: Tensor  # [C] float64, vectors each centroid is the running mean of
    recent: Tensor  # [C] float64, vectors it got in this epoch
    step: int = 0  # mini-batch steps done
    passes: int = 0  # full passes done
    inertia: float = float("inf")  # of the last full pass
    settled: bool = False


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


def kmeans(
    vectors: Vectors,
    config: KMeansConfig,
    *,
    state_path: Path | None = None,
    device: str | torch.device = "cpu",
    label: str = "k-means",
) -> Clusters:
    """Cluster ``vectors``; with ``state_path`` a killed run goes on from its newest state.

    Args:
        vectors: N vectors of width P, N at least ``config.clusters``.
        config: sizes, epochs, seed.
        state_path: where the state lies between two steps; left there at the end.
        device: where distances are computed.
        label: what the progress bar says.
    """
    total, _ = vectors.shape
    if total < config.clusters:
        raise ValueError(f"{config.clusters} clusters need as many vectors, got {total}")
    state = _load(state_path, config, vectors)
    if state is None:
        state = _start(vectors, config, device)
        _save(state_path, state, config, vectors)
    batches = -(-total // config.batch_size)
    steps = batches * config.epochs
    with tqdm(total=steps + config.passes, initial=state.step, desc=label, unit="step") as bar:
        for step in range(state.step, steps):
            state = _minibatch(state, vectors, config, device, step, batches)
            if (step + 1) % config.save_every == 0 or step + 1 == steps:
                _save(state_path, state, config, vectors)
            bar.update()
        bar.update(state.passes)
        while state.passes < config.passes and not state.settled:
            state, _ = _full_pass(state, vectors, config, device)
            _save(state_path, state, config, vectors)
            bar.set_postfix(inertia=f"{state.inertia:.4g}")
            bar.update()
    centroids = state.centroids
    counts, inertia, _ = _measure(centroids, vectors, device)
    return Clusters(centroids, counts.long(), inertia, state.passes)


def _generator(config: KMeansConfig, phase: int, step: int) -> torch.Generator:
    mixed = (config.seed * 1_000_003 + phase) * 1_000_003 + step
    return torch.Generator().manual_seed(mixed % (1 << 63))


@lru_cache(maxsize=1)
def _order(config: KMeansConfig, total: int, epoch: int) -> Tensor:
    return torch.randperm(total, generator=_generator(config, EPOCH, epoch))


def _start(vectors: Vectors, config: KMeansConfig, device: str | torch.device) -> _State:
    """Choose the first centroids by greedy k-means++ on a sample."""
    generator = _generator(config, INIT, 0)
    total, clusters = vectors.shape[0], config.clusters
    size = min(total, max(config.init_vectors, 3 * clusters))
    sample = vectors.gather(torch.randperm(total, generator=generator)[:size].sort().values)
    sample = sample.to(device)
    offset = sample.mean(0)
    chosen = plus_plus(sample - offset, clusters, generator)
    zeros = torch.zeros(clusters, dtype=torch.float64)
    return _State(sample[chosen].cpu(), zeros, zeros.clone())


def plus_plus(sample: Tensor, clusters: int, generator: torch.Generator) -> Tensor:
    """Return the row numbers [C] of a greedy k-means++ start.

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
        # Every vector equals a chosen one: any row does, and later steps move the doubles.
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


def _minibatch(
    state: _State,
    vectors: Vectors,
    config: KMeansConfig,
    device: str | torch.device,
    step: int,
    batches: int,
) -> _State:
    """Move each centroid to the running mean of what it was given; re-seed at an epoch's end."""
    epoch, batch = divmod(step, batches)
    order = _order(config, vectors.shape[0], epoch)
    rows = order[batch * config.batch_size : (batch + 1) * config.batch_size].sort().values
    data = vectors.gather(rows).to(device)
    labels, distances = assign(data, state.centroids.to(device))
    sums, counts = _sums(data, labels, config.clusters)
    weights = state.weights + counts
    moves = (sums - counts[:, None] * state.centroids) / weights.clamp(min=1)[:, None]
    centroids = (state.centroids + moves).float()
    recent = state.recent + counts
    if batch + 1 == batches:
        fair = vectors.shape[0] / config.clusters
        weak = recent < max(1.0, config.reseed_share * fair)
        generator = _generator(config, RESEED, step)
        centroids = _reseed(centroids, weak, data, distances, generator)
        # A moved centroid starts light, so that it follows its new neighbours at once.
        weights = torch.where(weak, torch.zeros_like(weights), weights)
        recent = torch.zeros_like(recent)
    return replace(state, centroids=centroids, weights=weights, recent=recent, step=step + 1)


def _full_pass(
    state: _State, vectors: Vectors, config: KMeansConfig, device: str | torch.device
) -> tuple[_State, Tensor]:
    """Move each centroid to the mean of its vectors; an empty one to a far vector."""
    counts, inertia, sums = _measure(state.centroids, vectors, device)
    means = (sums / counts.clamp(min=1)[:, None]).float()
    empty = counts == 0
    centroids = torch.where(empty[:, None], state.centroids, means)
    if bool(empty.any()):
        generator = _generator(config, RESEED, -1 - state.passes)
        size = min(vectors.shape[0], max(CHUNK, config.clusters))
        rows = torch.randperm(vectors.shape[0], generator=generator)[:size].sort().values
        data = vectors.gather(rows).to(device)
        distances = assign(data, centroids.to(device))[1]
        centroids = _reseed(centroids, empty, data, distances, generator)
    settled = not bool(empty.any()) and state.inertia - inertia <= config.tolerance * inertia
    state = replace(
        state, centroids=centroids, inertia=inertia, passes=state.passes + 1, settled=settled
    )
    return state, counts


def _measure(
    centroids: Tensor, vectors: Vectors, device: str | torch.device = "cpu"
) -> tuple[Tensor, float, Tensor]:
    """Return vectors per cluster [C], mean squared distance and sums per cluster [C, P]."""
    clusters, width = centroids.shape
    counts = torch.zeros(clusters, dtype=torch.float64)
    sums = torch.zeros(clusters, width, dtype=torch.float64)
    squared = 0.0
    there = centroids.to(device)
    for data in _chunks(vectors):
        data = data.to(device)
        labels, distances = assign(data, there)
        more, count = _sums(data, labels, clusters)
        sums += more
        counts += count
        squared += float(distances.cpu().double().sum())
    return counts, squared / vectors.shape[0], sums


def _chunks(vectors: Vectors) -> Iterator[Tensor]:
    for start in range(0, vectors.shape[0], CHUNK):
        yield vectors.gather(torch.arange(start, min(start + CHUNK, vectors.shape[0])))


def _sums(data: Tensor, labels: Tensor, clusters: int) -> tuple[Tensor, Tensor]:
    """Return the sum [C, P] and number [C] of the vectors of each cluster, float64 on the CPU."""
    counts = torch.bincount(labels.cpu(), minlength=clusters).double()
    if data.device.type != "cpu":  # index_add_ is not deterministic there
        members = torch.nn.functional.one_hot(labels, clusters).to(data.dtype)
        return (members.T @ data).cpu().double(), counts
    sums = torch.zeros(clusters, data.shape[1], dtype=torch.float64)
    return sums.index_add_(0, labels, data.double()), counts


def _reseed(
    centroids: Tensor, weak: Tensor, data: Tensor, distances: Tensor, generator: torch.Generator
) -> Tensor:
    """Move the ``weak`` [C] centroids onto far vectors of ``data``, drawn by squared distance."""
    needed = int(weak.sum())
    chances = distances.cpu().double()
    if needed == 0 or int((chances > 0).sum()) < needed:
        return centroids
    rows = torch.multinomial(chances, needed, generator=generator).to(data.device)
    moved = centroids.clone()
    moved[weak] = data[rows].cpu()
    return moved


def _save(path: Path | None, state: _State, config: KMeansConfig, vectors: Vectors) -> None:
    if path is None:
        return
    tensors = {"centroids": state.centroids, "weights": state.weights, "recent": state.recent}
    about = {
        "config": asdict(config),
        "shape": list(vectors.shape),
        "step": state.step,
        "passes": state.passes,
        "inertia": state.inertia.hex(),  # all bits, and infinity, which JSON has no word for
        "settled": state.settled,
    }
    save_tensors(path, tensors, about)


def _load(path: Path | None, config: KMeansConfig, vectors: Vectors) -> _State | None:
    if path is None or not path.is_file():
        return None
    tensors, about = load_tensors(path)
    for name, here in (("config", asdict(config)), ("shape", list(vectors.shape))):
        if about[name] != here:
            raise ValueError(
                f"{path} belongs to another run: its {name} is {about[name]}, now it is {here}"
            )
    return _State(
        **tensors,
        step=about["step"],
        passes=about["passes"],
        inertia=float.fromhex(about["inertia"]),
        settled=about["settled"],
    )
