"""Fréchet distance: closed form, fewer clips than dimensions, extrapolation, refusals."""

import numpy as np
import pytest

from almtok.core.metrics.frechet import MIN_CLIPS, extrapolated_distance, frechet_distance


def gaussians(count, width, seed=0):
    """Two sets of independent samples of one Gaussian with a falling spectrum."""
    rng = np.random.default_rng(seed)
    scale = np.arange(1, width + 1) ** -1.0
    return rng.standard_normal((2, count, width)) * scale


def test_closed_form_of_diagonal_gaussians():
    rng = np.random.default_rng(0)
    white, _ = np.linalg.qr(rng.standard_normal((400, 6)))
    white -= white.mean(axis=0)
    white = np.linalg.qr(white)[0] * np.sqrt(399)  # mean 0, covariance 1
    a, b = np.array([1.0, 2, 3, 0.5, 1, 0]), np.array([1.0, 1, 4, 0.5, 0, 2])
    shift = np.arange(6.0)
    expected = (shift**2).sum() + ((a - b) ** 2).sum()
    assert frechet_distance(white * a, white[::-1] * b + shift) == pytest.approx(expected)


def test_matches_the_matrix_square_root():
    scipy = pytest.importorskip("scipy")
    rng = np.random.default_rng(1)
    a = rng.standard_normal((50, 5)) @ rng.standard_normal((5, 5))
    b = rng.standard_normal((70, 5)) @ rng.standard_normal((5, 5)) + 1
    first, second = np.cov(a.T), np.cov(b.T)
    root = scipy.linalg.sqrtm(first @ second).real
    mean = a.mean(axis=0) - b.mean(axis=0)
    expected = mean @ mean + np.trace(first + second - 2 * root)
    assert frechet_distance(a, b) == pytest.approx(expected)


def test_equal_sets_are_at_zero_with_fewer_clips_than_dimensions():
    a, _ = gaussians(40, 128)
    size = (a**2).sum()
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-10 * size)
    found = extrapolated_distance(a, a)
    assert found.value.mean == pytest.approx(0, abs=1e-10 * size) and found.value.n == 40


def test_extrapolation_removes_most_of_the_bias():
    """Sets of one distribution have the distance 0; the plain value falls with 1 / clips."""
    a, b = gaussians(400, 32)
    found = extrapolated_distance(a, b)
    assert found.plain > 0.01
    assert abs(found.value.mean) < found.plain / 4


def test_a_constant_shift_of_paired_clips_is_measured_exactly():
    a, _ = gaussians(MIN_CLIPS, 64)
    shift = np.full(64, 0.25)
    found = extrapolated_distance(a, a + shift)
    assert found.value.mean == pytest.approx(64 * 0.25**2)
    assert found.value.low == pytest.approx(found.value.high)


def test_the_interval_covers_other_samples():
    """Of 20 samples of clips, at most a few lie outside of the interval of another one."""
    rng = np.random.default_rng(2)
    mix = rng.standard_normal((8, 8)) / 4 + np.eye(8)

    def sample(seed):
        a, _ = gaussians(200, 8, seed)
        return a, a @ mix + 0.1

    values = [extrapolated_distance(*sample(seed)) for seed in range(20)]
    mean = np.mean([found.value.mean for found in values])
    covered = sum(found.value.low <= mean <= found.value.high for found in values)
    assert covered >= 16


def test_refusals():
    a, b = gaussians(MIN_CLIPS - 1, 4)
    with pytest.raises(ValueError, match=f"at least {MIN_CLIPS} clips, got {MIN_CLIPS - 1}"):
        extrapolated_distance(a, b)
    with pytest.raises(ValueError, match="same clips"):
        extrapolated_distance(a, b[1:])
    with pytest.raises(ValueError, match="equal widths"):
        frechet_distance(a, b[:, 1:])
    with pytest.raises(ValueError, match="finite"):
        frechet_distance(a, b * np.nan)
    with pytest.raises(ValueError, match=r"\[N, D\]"):
        frechet_distance(a[0], b[0])
