"""k-means (Lloyd 1982) on vectors that are read in chunks; a stopped run resumes bit for bit.

Shapes: ``N`` vectors, ``P`` width, ``C`` clusters, ``n`` vectors of one chunk.
"""

from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from tqdm import tqdm

from .config import KMeansConfig
from .files import load_tensors, save_tensors
from .vectors import ShardVectors

CHUNK = 8192  # vectors per chunk: its distances [n, C] take 32 MB at C = 1024


class Clusters(NamedTuple):
    """Result of k-means."""

    centroids: Tensor  # [C, P] float32
    counts: Tensor  # [C] int64, vectors of each cluster
    inertia: float  # mean squared distance of a vector to its centroid
    passes: int  # updates of the centroids


def kmeans(
    vectors: ShardVectors,
    config: KMeansConfig,
    *,
    state_path: Path | None = None,
    device: str | torch.device = "cpu",
    label: str = "k-means",
) -> Clusters:
    """Cluster N vectors of width P by Lloyd's algorithm after a greedy k-means++ initialization.

    Centroids of empty clusters move to the farthest vectors, as in scikit-learn; with such, passes
    go on, at most twice as many. Distances are computed on `device`; `label` describes the progress
    bar. A stopped run resumes from the file `state_path`, which is not removed.

    Raises:
        ValueError: N is below ``config.clusters``, or the state is of other vectors or settings.
    """
    if vectors.shape[0] < config.clusters:
        raise ValueError(f"vectors must be at least {config.clusters}, got {vectors.shape[0]}")
    run = {"config": asdict(config), "shape": list(vectors.shape)}
    state: dict[str, Any] = {"run": run, "passes": 0, "inertia": float("inf").hex()}  # hex: exact
    if state_path is not None and state_path.is_file():
        tensors, state = load_tensors(state_path)
        centroids = tensors["centroids"]
    else:
        generator = torch.Generator().manual_seed(config.seed)
        size = max(config.init_vectors, 3 * config.clusters)
        rows = torch.randperm(vectors.shape[0], generator=generator)[:size].sort().values
        sample = vectors.gather(rows)
        centred = (sample - sample.mean(0)).to(device)
        centroids = sample[kmeans_plus_plus(centred, config.clusters, generator).cpu()]
    if state.get("run") != run:
        raise ValueError(f"{state_path} must be the state of {run}, got {state.get('run')}")
    for passes in tqdm(range(state["passes"], 2 * config.passes + 1), desc=label, unit="pass"):
        if state_path is not None:
            save_tensors(state_path, {"centroids": centroids}, state)
        counts, sums, distances = _assign_all(vectors, centroids, device)
        inertia, empty = float(distances.double().mean()), counts == 0
        settled = float.fromhex(state["inertia"]) - inertia <= config.tolerance * inertia
        again = bool(empty.any()) and inertia > 0 and passes < 2 * config.passes
        if (settled or passes >= config.passes) and not again:
            break
        centroids = (sums / counts.clamp(min=1)[:, None]).float()
        centroids[empty] = vectors.gather(distances.topk(int(empty.sum())).indices.sort().values)
        state = {"run": run, "passes": passes + 1, "inertia": inertia.hex()}
    return Clusters(centroids, counts, inertia, passes)


def kmeans_plus_plus(sample: Tensor, clusters: int, generator: torch.Generator) -> Tensor:
    """Return the rows [C] of ``sample`` [N, P] that a greedy k-means++ initialization chooses.

    Each new centroid is the best of a few candidates drawn with probability proportional to the
    squared distance (Arthur and Vassilvitskii 2007; candidates as in scikit-learn, at most 8).
    """
    trials, squares = min(8, 2 + int(torch.tensor(clusters).log())), sample.square().sum(1)
    nearest = torch.full_like(squares, torch.inf)  # [N]
    rows, chosen = torch.randint(len(sample), (1,), generator=generator), []
    for _ in tqdm(range(clusters), desc="k-means++", unit="centroid", leave=False):
        distances = torch.addmm(squares, sample[rows], sample.T, alpha=-2) + squares[rows, None]
        candidates = torch.minimum(distances.clamp(min=0), nearest)  # [trials, N]
        best = int(candidates.sum(1).argmin())
        nearest = candidates[best].index_fill(0, rows[best].to(sample.device), 0)
        chosen.append(int(rows[best]))
        cumulative = nearest.cpu().double().cumsum(0)
        draws = torch.rand(trials, generator=generator, dtype=torch.float64)
        # If every vector equals a chosen one, this is the first row; passes separate duplicates.
        rows = torch.searchsorted(cumulative, draws * cumulative[-1]).clamp(max=len(sample) - 1)
    return torch.tensor(chosen, device=sample.device)


def assign(vectors: Tensor, centroids: Tensor) -> tuple[Tensor, Tensor]:
    """Nearest ones [n] int64 of the centroids [C, P], and squared distances [n], of vectors [n, P].

    Both move to the centroids' mean: |x|^2 - 2xc + |c|^2 cancels badly far from the origin.
    """
    vectors, centroids = vectors - centroids.mean(0), centroids - centroids.mean(0)
    nearest = torch.addmm(centroids.square().sum(1), vectors, centroids.T, alpha=-2).min(1)
    return nearest.indices, (nearest.values + vectors.square().sum(1)).clamp(min=0)


def _assign_all(vectors: ShardVectors, centroids: Tensor, device: str | torch.device) -> Any:
    """Counts [C] and sums [C, P] (float64, on the CPU: deterministic) and distances [N]."""
    counts, sums = torch.zeros(len(centroids), dtype=torch.int64), centroids.double() * 0
    distances, there = [], centroids.to(device)
    for rows in torch.arange(vectors.shape[0]).split(CHUNK):
        chunk = vectors.gather(rows)  # [n, P]
        labels, squared = (found.cpu() for found in assign(chunk.to(device), there))
        counts += torch.bincount(labels, minlength=len(centroids))
        sums.index_add_(0, labels, chunk.double())
        distances.append(squared)
    return counts, sums, torch.cat(distances)
