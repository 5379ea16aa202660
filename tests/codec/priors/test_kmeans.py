import pytest
import torch

from almtok.codec.priors import kmeans as module
from almtok.codec.priors.config import KMeansConfig
from almtok.codec.priors.kmeans import KMeansRun, TensorVectors, assign, kmeans, plus_plus


def blobs(clusters=20, each=100, width=8, spread=0.3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(clusters, width, generator=generator) * 3
    points = centres.repeat_interleave(each, 0)
    return centres, points + spread * torch.randn(points.shape, generator=generator)


def config(**overrides):
    return KMeansConfig(**({"clusters": 20, "batch_size": 256, "save_every": 3} | overrides))


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
    found = kmeans(TensorVectors(points), config())
    assert torch.cdist(centres, found.centroids).min(1).values.max() < 0.3
    assert found.counts.tolist() == [100] * 20
    assert found.inertia == pytest.approx(8 * 0.3**2, rel=0.1)


def test_no_worse_than_plain_k_means():
    generator = torch.Generator().manual_seed(3)
    points = torch.randn(3000, 6, generator=generator)
    ours = kmeans(TensorVectors(points), config(clusters=40)).inertia
    plain = min(lloyd(points, 40, seed) for seed in range(3))
    assert ours <= 1.02 * plain


def test_no_worse_than_scikit_learn():
    cluster = pytest.importorskip("sklearn.cluster")
    generator = torch.Generator().manual_seed(4)
    points = torch.randn(2000, 8, generator=generator)
    theirs = cluster.MiniBatchKMeans(40, batch_size=256, max_iter=20, n_init=1, random_state=0).fit(
        points.numpy()
    )
    only_batches = kmeans(TensorVectors(points), config(clusters=40, epochs=8, passes=0))
    assert only_batches.inertia <= 1.02 * theirs.inertia_ / len(points)
    with_passes = kmeans(TensorVectors(points), config(clusters=40, epochs=8))
    assert with_passes.inertia < only_batches.inertia


def test_the_start_prefers_far_points():
    centres, points = blobs(spread=0.01)
    rows = plus_plus(points, 20, torch.Generator().manual_seed(0))
    assert sorted((rows // 100).tolist()) == list(range(20))


def test_seeded():
    _, points = blobs()
    first, again, other = (
        kmeans(TensorVectors(points), config(seed=seed, passes=1)).centroids for seed in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("stop_after", range(0, 12))
def test_stopped_anywhere_it_ends_with_the_same_bits(tmp_path, monkeypatch, stop_after):
    _, points = blobs(spread=1.5)
    settings = config(epochs=2, passes=3, tolerance=0.0)
    whole = kmeans(TensorVectors(points), settings)
    path, saves = tmp_path / "state.safetensors", []
    real = module.save_tensors

    def save_then_stop(*arguments):
        real(*arguments)
        saves.append(1)
        if len(saves) > stop_after:
            raise KeyboardInterrupt

    monkeypatch.setattr(module, "save_tensors", save_then_stop)
    try:
        kmeans(TensorVectors(points), settings, state_path=path)
    except KeyboardInterrupt:
        assert path.is_file()
    monkeypatch.setattr(module, "save_tensors", real)
    resumed = kmeans(TensorVectors(points), settings, state_path=path)
    assert torch.equal(resumed.centroids, whole.centroids)
    assert torch.equal(resumed.counts, whole.counts)
    assert (resumed.inertia, resumed.passes) == (whole.inertia, whole.passes)


def test_a_state_of_other_settings_is_refused(tmp_path):
    _, points = blobs()
    path = tmp_path / "state.safetensors"
    kmeans(TensorVectors(points), config(passes=0, epochs=1), state_path=path)
    with pytest.raises(ValueError, match="belongs to another run: its config"):
        kmeans(TensorVectors(points), config(passes=1), state_path=path)
    with pytest.raises(ValueError, match="its shape"):
        kmeans(TensorVectors(points[:-1]), config(passes=0, epochs=1), state_path=path)


def test_empty_clusters_are_moved_to_where_vectors_are():
    # Twelve initial centroids on one spot: all but one of them stay empty until they are moved.
    _, points = blobs(spread=0.05)
    run = KMeansRun(TensorVectors(points), config(epochs=6))
    run.centroids = run.centroids.clone()
    run.centroids[8:] = 100.0
    assert int((run.measure()[0] == 0).sum()) >= 11
    for _ in range(6 * 8):
        run.minibatch()
    for _ in range(10):
        run.full_pass()
    assert int((run.measure()[0] == 0).sum()) == 0


def test_equal_vectors_do_not_hang_or_fail():
    found = kmeans(TensorVectors(torch.ones(50, 3)), config(clusters=4))
    assert torch.isfinite(found.centroids).all() and found.inertia == 0.0


def test_as_many_clusters_as_vectors():
    _, points = blobs(clusters=5, each=2)
    assert kmeans(TensorVectors(points), config(clusters=10)).inertia < 1e-5


def test_too_few_vectors_and_wrong_settings_are_named():
    with pytest.raises(ValueError, match="20 clusters need as many vectors, got 7"):
        kmeans(TensorVectors(torch.randn(7, 3)), config())
    with pytest.raises(ValueError, match="batch_size must be at least 1, got 0"):
        config(batch_size=0)
