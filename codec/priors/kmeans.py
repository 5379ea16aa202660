"""k-means (Lloyd 1982) on vectors that are read in chunks; a stopped run resumes bit for bit.

Shapes: ``N`` vectors, ``P`` width, ``C`` clusters, ``n`` vectors of one chunk.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from .config import KMeansConfig
from .files import load_tensors, save_tensors
from .vectors import ShardVectors

CHUNK = 8192  # vectors per chunk: its distances [n, C] take 32 MB at C = 1024


@dataclass(frozen=True)
class Clusters:
    """Result of k-means."""

    centroids: Tensor  # [C, P] float32
    counts: Tensor  # [C] int64, vectors of each cluster
    inertia: float  # mean squared distance of a vector to its centroid
    passes: int  # updates of the centroids


@dataclass
class _State:
    """What a resumed run needs: random numbers are drawn for the initialization only."""

    centroids: Tensor  # [C, P] float32
    passes: int = 0
    inertia: float = float("inf")  # before the last update

    def save(self, path: Path | None, run: dict[str, object]) -> None:
        if path is not None:  # the inertia in hex: exact, and JSON has no infinity
            metadata = {"run": run, "passes": self.passes, "inertia": self.inertia.hex()}
            save_tensors(path, {"centroids": self.centroids}, metadata)

    @classmethod
    def load(cls, path: Path, run: dict[str, object]) -> _State:
        tensors, metadata = load_tensors(path)
        if metadata.get("run") != run:
            raise ValueError(f"{path} must be the state of {run}, got {metadata.get('run')}")
        inertia = float.fromhex(metadata["inertia"])
        return cls(tensors["centroids"], metadata["passes"], inertia)


def kmeans(
    vectors: ShardVectors,
    config: KMeansConfig,
    *,
    state_path: Path | None = None,
    device: str | torch.device = "cpu",
    label: str = "k-means",
) -> Clusters:
    """Cluster vectors by Lloyd's algorithm after a greedy k-means++ initialization.

    Centroids of empty clusters move to the vectors with the largest distances, as in scikit-learn.

    Args:
        vectors: N vectors of width P, N at least ``config.clusters``.
        config: Number of clusters and passes, tolerance, seed.
        state_path: File of the state, from which a stopped run resumes; it is not removed.
        device: Where distances are computed.
        label: Description of the progress bar.

    Raises:
        ValueError: There are too few vectors, or the state is of other vectors or settings.
    """
    if vectors.shape[0] < config.clusters:
        raise ValueError(f"vectors must be at least {config.clusters}, got {vectors.shape[0]}")
    run: dict[str, object] = {"config": asdict(config), "shape": list(vectors.shape)}
    if state_path is not None and state_path.is_file():
        state = _State.load(state_path, run)
    else:
        state = _State(_initial_centroids(vectors, config, device))
        state.save(state_path, run)
    with tqdm(total=config.passes, initial=state.passes, desc=label, unit="pass") as bar:
        while True:
            counts, sums, distances = _assign_all(vectors, state.centroids, device)
            inertia = float(distances.double().mean())
            empty = counts == 0
            settled = state.inertia - inertia <= config.tolerance * inertia
            # With empty clusters passes go on, at most twice as many.
            if (settled or state.passes >= config.passes) and not (
                empty.any() and inertia > 0 and state.passes < 2 * config.passes
            ):
                return Clusters(state.centroids, counts, inertia, state.passes)
            centroids = (sums / counts.clamp(min=1)[:, None]).float()
            farthest = distances.topk(int(empty.sum())).indices.sort().values
            centroids[empty] = vectors.gather(farthest)
            state = _State(centroids, state.passes + 1, inertia)
            state.save(state_path, run)
            bar.set_postfix(inertia=f"{inertia:.4g}")
            bar.update()


def _initial_centroids(
    vectors: ShardVectors, config: KMeansConfig, device: str | torch.device
) -> Tensor:
    """Centroids [C, P] of a k-means++ initialization on a random sample of the vectors."""
    generator = torch.Generator().manual_seed(config.seed)
    size = max(config.init_vectors, 3 * config.clusters)
    rows = torch.randperm(vectors.shape[0], generator=generator)[:size].sort().values
    sample = vectors.gather(rows)
    centred = (sample - sample.mean(0)).to(device)
    return sample[kmeans_plus_plus(centred, config.clusters, generator).cpu()]


def kmeans_plus_plus(sample: Tensor, clusters: int, generator: torch.Generator) -> Tensor:
    """Return the rows [C] of ``sample`` [N, P] that a greedy k-means++ initialization chooses.

    Each new centroid is the best of a few candidates drawn with probability proportional to the
    squared distance (Arthur and Vassilvitskii 2007; candidates as in scikit-learn, at most 8).
    """
    size = sample.shape[0]
    trials = min(8, 2 + int(torch.tensor(float(clusters)).log()))
    squares = sample.square().sum(1)
    chosen = [int(torch.randint(size, (1,), generator=generator))]
    nearest = (squares - 2 * (sample @ sample[chosen[0]]) + squares[chosen[0]]).clamp(min=0)  # [N]
    nearest[chosen[0]] = 0
    for _ in tqdm(range(1, clusters), desc="k-means++", unit="centroid", leave=False):
        cumulative = nearest.cpu().double().cumsum(0)
        # Every vector equals a chosen one: take any row; later passes separate duplicates.
        if float(cumulative[-1]) == 0.0:
            chosen.append(int(torch.randint(size, (1,), generator=generator)))
            continue
        draws = torch.rand(trials, generator=generator, dtype=torch.float64)
        rows = torch.searchsorted(cumulative, draws * cumulative[-1]).clamp(max=size - 1)
        rows = rows.to(sample.device)
        distances = torch.addmm(squares, sample[rows], sample.T, alpha=-2) + squares[rows, None]
        candidates = torch.minimum(distances.clamp(min=0), nearest)  # [trials, N]
        best = int(candidates.sum(1).argmin())
        nearest = candidates[best]
        chosen.append(int(rows[best]))
        nearest[chosen[-1]] = 0
    return torch.tensor(chosen, device=sample.device)


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
    vectors, centroids = vectors - offset, centroids - offset
    nearest = torch.addmm(centroids.square().sum(1), vectors, centroids.T, alpha=-2).min(1)
    return nearest.indices, (nearest.values + vectors.square().sum(1)).clamp(min=0)


def _assign_all(
    vectors: ShardVectors, centroids: Tensor, device: str | torch.device
) -> tuple[Tensor, Tensor, Tensor]:
    """Return counts [C] and sums [C, P] (float64) of the clusters, and squared distances [N].

    Sums are on the CPU: not every device has float64 and a deterministic `index_add_`.
    """
    counts = torch.zeros(len(centroids), dtype=torch.int64)
    sums = torch.zeros(centroids.shape, dtype=torch.float64)
    distances = []
    for start in range(0, vectors.shape[0], CHUNK):
        chunk = vectors.gather(torch.arange(start, min(start + CHUNK, vectors.shape[0])))  # [n, P]
        labels, squared = assign(chunk.to(device), centroids.to(device))
        labels = labels.cpu()
        counts += torch.bincount(labels, minlength=len(centroids))
        sums.index_add_(0, labels, chunk.double())
        distances.append(squared.cpu())
    return counts, sums, torch.cat(distances)
