import pytest
import torch

from almtok.codec.priors import kmeans as module
from almtok.codec.priors.config import KMeansConfig
from almtok.codec.priors.kmeans import assign, kmeans, kmeans_plus_plus
from almtok.codec.priors.vectors import ShardVectors


def blobs(clusters=20, each=100, width=8, spread=0.3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(clusters, width, generator=generator) * 3
    points = centres.repeat_interleave(each, 0)
    return centres, points + spread * torch.randn(points.shape, generator=generator)


def config(**overrides):
    return KMeansConfig(**({"clusters": 20} | overrides))


def vectors(points):
    """In two shards."""
    return ShardVectors((points[:7].numpy(), points[7:].numpy()))


def lloyd(points, clusters, seed, rounds=50):
    """Plain k-means from random rows: the textbook."""
    generator = torch.Generator().manual_seed(seed)
    centres = points[torch.randperm(len(points), generator=generator)[:clusters]]
    for _ in range(rounds):
        labels = torch.cdist(points, centres).argmin(1)
        centres = torch.stack(
            [
                points[labels == c].mean(0) if bool((labels == c).any()) else centres[c]
                for c in range(clusters)
            ]
        )
    return float(torch.cdist(points, centres).min(1).values.square().mean())


def test_assign_is_the_nearest_even_far_from_the_origin():
    generator = torch.Generator().manual_seed(0)
    points = torch.randn(9000, 5, generator=generator) + 1000
    centres = torch.randn(30, 5, generator=generator) + 1000
    labels, distances = assign(points, centres)
    exact = torch.cdist(points.double(), centres.double()).square()
    assert (exact.gather(1, labels[:, None])[:, 0] - exact.min(1).values).max() < 1e-3
    assert (distances - exact.min(1).values).abs().max() < 1e-3


def test_blobs_are_found():
    centres, points = blobs()
    found = kmeans(vectors(points), config())
    assert torch.cdist(centres, found.centroids).min(1).values.max() < 0.3
    assert found.counts.tolist() == [100] * 20
    assert found.inertia == pytest.approx(8 * 0.3**2, rel=0.1)


def test_no_worse_than_plain_k_means():
    generator = torch.Generator().manual_seed(3)
    points = torch.randn(3000, 6, generator=generator)
    ours = kmeans(vectors(points), config(clusters=40)).inertia
    plain = min(lloyd(points, 40, seed) for seed in range(3))
    assert ours <= 1.02 * plain


def test_no_worse_than_scikit_learn():
    cluster = pytest.importorskip("sklearn.cluster")
    generator = torch.Generator().manual_seed(4)
    points = torch.randn(2000, 8, generator=generator)
    theirs = cluster.KMeans(40, n_init=1, random_state=0).fit(points.numpy()).inertia_
    assert kmeans(vectors(points), config(clusters=40)).inertia <= 1.02 * theirs / len(points)


def test_passes_lower_the_inertia_until_the_tolerance():
    generator = torch.Generator().manual_seed(4)
    points = vectors(torch.randn(2000, 8, generator=generator))
    found = [kmeans(points, config(clusters=40, passes=passes)) for passes in (0, 3, 200)]
    assert [clusters.passes for clusters in found[:2]] == [0, 3]
    assert 3 < found[2].passes < 200
    assert found[0].inertia > found[1].inertia > found[2].inertia


def test_the_start_prefers_far_points():
    centres, points = blobs(spread=0.01)
    rows = kmeans_plus_plus(points, 20, torch.Generator().manual_seed(0))
    assert sorted((rows // 100).tolist()) == list(range(20))


def test_seeded():
    _, points = blobs()
    first, again, other = (
        kmeans(vectors(points), config(seed=seed, passes=1)).centroids for seed in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("stop_after", range(0, 6))
def test_stopped_anywhere_it_ends_with_the_same_bits(tmp_path, monkeypatch, stop_after):
    _, points = blobs(spread=1.5)
    settings = config(passes=4, tolerance=0.0)
    whole = kmeans(vectors(points), settings)
    path, saves = tmp_path / "state.safetensors", []
    real = module.save_tensors

    def save_then_stop(*arguments):
        real(*arguments)
        saves.append(1)
        if len(saves) > stop_after:
            raise KeyboardInterrupt

    monkeypatch.setattr(module, "save_tensors", save_then_stop)
    try:
        kmeans(vectors(points), settings, state_path=path)
    except KeyboardInterrupt:
        assert path.is_file()
    monkeypatch.setattr(module, "save_tensors", real)
    resumed = kmeans(vectors(points), settings, state_path=path)
    assert torch.equal(resumed.centroids, whole.centroids)
    assert torch.equal(resumed.counts, whole.counts)
    assert (resumed.inertia, resumed.passes) == (whole.inertia, whole.passes)


def test_a_state_of_other_settings_is_refused(tmp_path):
    _, points = blobs()
    path = tmp_path / "state.safetensors"
    kmeans(vectors(points), config(passes=0), state_path=path)
    with pytest.raises(ValueError, match=r"state.safetensors must be .*'passes': 1.*'passes': 0"):
        kmeans(vectors(points), config(passes=1), state_path=path)
    with pytest.raises(ValueError, match=r"\[1999, 8\].*got .*\[2000, 8\]"):
        kmeans(vectors(points[:-1]), config(passes=0), state_path=path)


@pytest.mark.parametrize("passes", [1, 10])
def test_empty_clusters_are_moved_to_where_vectors_are(monkeypatch, passes):
    _, points = blobs(spread=0.05)

    def far_away(sample, clusters, generator):
        """Eight centroids on vectors of one blob, twelve without any vector."""
        return torch.tensor([*range(8), *[2000] * 12])

    monkeypatch.setattr(module, "kmeans_plus_plus", far_away)
    with_outlier = torch.cat([points, torch.full((1, 8), 100.0)])
    found = kmeans(vectors(with_outlier), config(passes=passes))
    assert int(found.counts.min()) > 0 and int(found.counts.sum()) == 2001


def test_equal_vectors_do_not_hang_or_fail():
    found = kmeans(vectors(torch.ones(50, 3)), config(clusters=4))
    assert torch.isfinite(found.centroids).all() and found.inertia == 0.0


def test_as_many_clusters_as_vectors():
    _, points = blobs(clusters=5, each=2)
    assert kmeans(vectors(points), config(clusters=10)).inertia < 1e-5


def test_too_few_vectors_and_wrong_settings_are_named():
    with pytest.raises(ValueError, match="vectors must be at least 20, got 7"):
        kmeans(vectors(torch.randn(7, 3)), config())
    with pytest.raises(ValueError, match="init_vectors must be at least 1, got 0"):
        config(init_vectors=0)
