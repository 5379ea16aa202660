import doctest
import importlib
import json
import stat

import pytest
import torch
from safetensors.torch import load_file, save_file

from almtok.codec.priors.prior import Prior, join_halves, load_prior, random_prior


def test_random_prior_is_scaled_as_a_real_one():
    prior = random_prior(seed=3, codebook_size=64, dim=12)
    assert (prior.codebook_size, prior.dim, prior.num_speech) == (64, 12, 32)
    for half in (prior.centroids[:32], prior.centroids[32:]):
        assert half.mean(0).abs().max() < 1e-6
        assert half.norm(dim=1).mean().item() == pytest.approx(1, abs=1e-6)
    assert torch.equal(prior.centroids, random_prior(seed=3, codebook_size=64, dim=12).centroids)
    assert not torch.equal(
        prior.centroids, random_prior(seed=4, codebook_size=64, dim=12).centroids
    )


def test_neither_half_wins_by_scale_and_the_map_leads_back():
    speech, sound = torch.randn(10, 4) * 100 + 50, torch.randn(6, 4) * 0.01 - 3
    prior = join_halves([speech, sound], torch.zeros(16, dtype=torch.int64), {})
    norms = prior.centroids.norm(dim=1)
    assert norms[:10].mean().item() == pytest.approx(1, abs=1e-5)
    assert norms[10:].mean().item() == pytest.approx(1, abs=1e-5)
    back = prior.centroids[:10] * prior.scale[0] + prior.mean[0]
    assert torch.allclose(back, speech, rtol=1e-4, atol=1e-3)
    back = prior.centroids[10:] * prior.scale[1] + prior.mean[1]
    assert torch.allclose(back, sound, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("num_speech", [0, 8])
def test_one_half_only(tmp_path, num_speech):
    prior = random_prior(seed=0, codebook_size=8, dim=4, num_speech=num_speech)
    prior.save(tmp_path / "prior.safetensors")
    assert load_prior(tmp_path / "prior.safetensors").num_speech == num_speech
    assert prior.scale[1 if num_speech else 0] == 1


def test_round_trip_and_equal_bytes(tmp_path):
    prior = random_prior(seed=0, codebook_size=8, dim=4)
    for name in ("a", "b"):
        prior.save(tmp_path / name / "prior.safetensors")
    first, second = (tmp_path / name / "prior.safetensors" for name in ("a", "b"))
    assert first.read_bytes() == second.read_bytes()
    again = load_prior(first)
    for name in ("centroids", "mean", "scale", "counts"):
        assert torch.equal(getattr(again, name), getattr(prior, name))
    assert again.metadata["speech"] == {"teacher": "random"}
    assert [path.name for path in first.parent.iterdir()] == ["prior.safetensors"]
    assert stat.S_IMODE(first.stat().st_mode) & 0o400
    assert set(load_file(first)) == {"centroids", "mean", "scale", "counts"}


def test_describe_names_teachers_and_sizes():
    text = random_prior(seed=5, codebook_size=8, dim=4).describe()
    assert "8 entries of width 4, 4 speech + 4 sound, seed 5" in text
    assert text.count("random") == 2 and "unknown" in text
    prior = random_prior(seed=5, codebook_size=8, dim=4)
    even = Prior(
        prior.centroids, 4, prior.mean, prior.scale, torch.full((8,), 7), {"seed": 1, "sound": {}}
    )
    assert "2.00" in even.describe()


def test_other_files_are_named(tmp_path):
    path = tmp_path / "file.safetensors"
    with pytest.raises(FileNotFoundError):
        load_prior(path)
    path.write_bytes(b"not at all")
    with pytest.raises(ValueError, match="not a readable safetensors file"):
        load_prior(path)
    save_file({"x": torch.zeros(1)}, path)
    with pytest.raises(ValueError, match="not a prior file"):
        load_prior(path)
    about = {"format": "almtok-prior", "version": 99}
    save_file({"x": torch.zeros(1)}, path, metadata={"about": json.dumps(about)})
    with pytest.raises(ValueError, match="version must be 1, got 99"):
        load_prior(path)
    about["version"] = 1
    save_file({"mean": torch.zeros(1)}, path, metadata={"about": json.dumps(about)})
    with pytest.raises(ValueError, match="lacks the tensors centroids, counts, scale"):
        load_prior(path)


def test_wrong_shapes_are_named():
    prior = random_prior(seed=0, codebook_size=8, dim=4)
    with pytest.raises(ValueError, match=r"mean must be \[2, 4\], got \[4\]"):
        Prior(prior.centroids, 4, prior.mean[0], prior.scale, prior.counts)
    with pytest.raises(ValueError, match="num_speech must lie in 0..8, got 9"):
        Prior(prior.centroids, 9, prior.mean, prior.scale, prior.counts)
    with pytest.raises(ValueError, match="finite"):
        Prior(prior.centroids * float("nan"), 4, prior.mean, prior.scale, prior.counts)


@pytest.mark.parametrize("name", ["beats", "config", "prior", "spectral"])
def test_examples_in_docstrings_run(name):
    module = importlib.import_module(f"almtok.codec.priors.{name}")
    result = doctest.testmod(module)
    assert result.attempted > 0 and result.failed == 0
