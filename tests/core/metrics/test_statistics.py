"""Bootstrap intervals and code statistics."""

import numpy as np
import pytest

from almtok.codec.evaluation.results import code_statistics
from almtok.core.metrics.intervals import bootstrap_interval, paired_difference


def test_interval_matches_the_normal_approximation():
    values = np.random.default_rng(0).normal(3.0, 2.0, 400)
    interval = bootstrap_interval(values, resamples=4000)
    half = 1.96 * values.std() / 20
    assert interval.mean == pytest.approx(values.mean())
    assert interval.low == pytest.approx(values.mean() - half, abs=0.03)
    assert interval.high == pytest.approx(values.mean() + half, abs=0.03)
    assert interval.n == 400


def test_interval_agrees_with_scipy():
    scipy_stats = pytest.importorskip("scipy.stats")
    values = np.random.default_rng(1).exponential(size=60)
    theirs = scipy_stats.bootstrap(
        (values,), np.mean, method="percentile", n_resamples=9999, rng=0
    ).confidence_interval
    ours = bootstrap_interval(values, resamples=9999)
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.02)


def test_interval_covers_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(2)
    hits = 0
    for _ in range(200):
        interval = bootstrap_interval(rng.normal(1.0, 1.0, 50), resamples=400)
        hits += interval.low <= 1.0 <= interval.high
    assert 0.89 <= hits / 200 <= 0.98


def test_interval_is_seeded_and_refuses_nan():
    values = np.arange(10.0)
    assert bootstrap_interval(values, seed=5) == bootstrap_interval(values, seed=5)
    assert bootstrap_interval(values, seed=5) != bootstrap_interval(values, seed=6)
    assert bootstrap_interval([2.0]).low == 2.0
    with pytest.raises(ValueError, match="at least one"):
        bootstrap_interval([])
    with pytest.raises(ValueError, match="finite"):
        bootstrap_interval([1.0, np.nan])


def test_pairing_sees_what_the_spread_hides():
    rng = np.random.default_rng(3)
    hard = rng.normal(0, 5, 50)
    a = {str(i): v + 0.5 for i, v in enumerate(hard + 0.1 * rng.standard_normal(50))}
    b = {str(i): v for i, v in enumerate(hard)} | {"only in b": 100.0}
    paired = paired_difference(a, b)
    assert paired.difference.mean == pytest.approx(0.5, abs=0.1)
    assert paired.clear and paired.higher == 1.0 and paired.unpaired == 1
    assert bootstrap_interval(list(a.values())).low < 0 < bootstrap_interval(list(a.values())).high
    assert paired_difference({"x": 1.0}, {"y": 1.0}) is None


def test_code_statistics_by_hand():
    # Layer 0 uses all four entries equally, layer 1 one of four.
    codes = [np.array([[0, 1], [3, 3]]), np.array([[2, 3], [3, 3]])]
    stats = code_statistics(codes, codebook_size=4, frame_rate=12.5)
    assert stats.usage == (1.0, 0.25)
    assert stats.entropy_bits == (2.0, 0.0)
    assert stats.perplexity == (4.0, 1.0)
    assert stats.positions == 4
    assert stats.kbps_nominal == pytest.approx(12.5 * 4 / 1000)
    assert stats.kbps_entropy == pytest.approx(12.5 * 2 / 1000)


def test_nominal_rate_of_the_paper():
    stats = code_statistics([np.zeros((3, 5), int)], codebook_size=2048, frame_rate=12.5)
    assert stats.kbps_nominal == pytest.approx(0.4125)


def test_wrong_codes_are_refused():
    for codes, message in (
        ([np.zeros(3, int)], r"\[K, Q\]"),
        ([np.full((1, 2), 4)], r"0\.\.3"),
        ([np.zeros((1, 2), int), np.zeros((2, 2), int)], "codebooks"),
        ([], "at least one clip"),
        ([np.zeros((2, 0), int)], "at least one position"),
    ):
        with pytest.raises(ValueError, match=message):
            code_statistics(codes, codebook_size=4, frame_rate=1.0)
