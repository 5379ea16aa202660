"""Teachers listen, and priors are made, on a pretended device: the same as on the CPU."""

import copy

import pytest
import torch

from almtok.codec.phonemes import PhonemeClassifier, PhonemeClassifierConfig
from almtok.codec.priors import PriorConfig, build_prior
from almtok.codec.priors.pretrained import TransformersTeacher
from almtok.codec.priors.teachers import PhonemeTeacher

from ...pretend_device import pretend_device
from .arrays import noises
from .slow_build import SMALL
from .test_pretrained import FAMILIES, checkpoint, noise  # noqa: F401  (a fixture)


@pytest.fixture
def device():
    with pretend_device() as made:
        yield made


def test_a_prior_is_made(device, tmp_path):
    here = build_prior(PriorConfig(**SMALL), noises(), tmp_path / "here.safetensors")
    there = build_prior(
        PriorConfig(**SMALL), noises(), tmp_path / "there.safetensors", device=device
    )
    assert torch.allclose(here.centroids, there.centroids, atol=1e-4)


@pytest.mark.parametrize("kind", FAMILIES)
def test_models_of_transformers_listen(device, kind, checkpoint):  # noqa: F811
    wavs, path = [noise(4000), noise(1500, 1)], checkpoint(kind)
    here, there = (
        TransformersTeacher(kind=kind, checkpoint=path, layers=(2, 3), device=place)
        for place in ("cpu", device)
    )
    for one, other in zip(here.features_batch(wavs), there.features_batch(wavs), strict=True):
        assert torch.allclose(one, other.cpu(), atol=1e-5)


def test_beats_listens(device, small_model, small):
    there = copy.deepcopy(small_model).to(device)
    wavs = [noise(8000), noise(5000, 1)]
    for one, other in zip(
        small_model.step_features(wavs),
        there.step_features([wav.to(device) for wav in wavs]),
        strict=True,
    ):
        assert torch.allclose(one, other.cpu(), atol=1e-4)


def test_phoneme_teacher(device, tmp_path):
    PhonemeClassifier(PhonemeClassifierConfig(width=16, num_bands=16)).save(
        tmp_path / "phoneme_classifier.safetensors"
    )
    here, there = (
        PhonemeTeacher(tmp_path / "phoneme_classifier.safetensors", device=place)
        for place in ("cpu", device)
    )
    wavs = [0.1 * noise(24_000), noise(9_000, 1)]
    for one, other in zip(here.features_batch(wavs), there.features_batch(wavs), strict=True):
        assert torch.allclose(one, other, atol=1e-4)
