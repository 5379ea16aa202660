"""The phoneme classifier as a teacher."""

import numpy as np
import pytest
import soundfile
import torch

from almtok.__main__ import main
from almtok.codec.phonemes import PhonemeClassifier, PhonemeClassifierConfig
from almtok.codec.priors import load_prior
from almtok.codec.priors.config import PriorConfig, TeacherSpec
from almtok.codec.priors.teachers import make_teacher


@pytest.fixture(scope="module")
def phoneme_classifier(tmp_path_factory):
    torch.manual_seed(0)
    place = tmp_path_factory.mktemp("phoneme_classifier") / "phoneme_classifier.safetensors"
    PhonemeClassifier(PhonemeClassifierConfig(width=32, num_bands=24)).save(place)
    return place


def test_states_are_what_phones_are_named_by(phoneme_classifier):
    teacher = make_teacher("speech", PriorConfig(teacher_speech=f"phonemes:{phoneme_classifier}"))
    assert (teacher.dim, teacher.sample_rate, teacher.frame_rate) == (32, 24_000, 75.0)
    wavs = [torch.randn(320 * n + 50) for n in (9, 30)]
    alone = [teacher.features(wav) for wav in wavs]
    for one, together in zip(alone, teacher.features_batch(wavs), strict=True):
        assert torch.equal(one, together)
    assert [tuple(one.shape) for one in alone] == [(9, 32), (30, 32)]
    model = PhonemeClassifier.load(phoneme_classifier)
    logits = model.leave[1](alone[1].T[None]).transpose(1, 2)
    torch.testing.assert_close(
        logits.log_softmax(-1), model.target_log_posteriors(wavs[1][None, None])
    )


def test_the_file_has_to_be_named_and_to_be_one(tmp_path):
    with pytest.raises(ValueError, match="phonemes:FILE"):
        TeacherSpec.parse("phonemes")
    from safetensors.torch import save_file

    save_file({"x": torch.zeros(1)}, tmp_path / "x.safetensors")
    with pytest.raises(ValueError, match="not a phoneme classifier"):
        make_teacher("speech", PriorConfig(teacher_speech=f"phonemes:{tmp_path / 'x.safetensors'}"))


def test_a_prior_of_it_beside_spectra(phoneme_classifier, tmp_path):
    rng = np.random.default_rng(0)
    for domain in ("speech", "sound"):
        (tmp_path / domain).mkdir()
        for n in range(2):
            soundfile.write(
                tmp_path / domain / f"{n}.wav", 0.1 * rng.standard_normal(48_000), 24_000
            )
    sources = [f"{domain}={tmp_path / domain}" for domain in ("speech", "sound")]
    common = [
        "codec",
        "prior",
        "--data",
        *sources,
        "--codebook-size",
        "32",
        "--spectral-width",
        "16",
    ]
    words = [*common, "--teacher-speech", f"phonemes:{phoneme_classifier}"]
    assert main([*words, "--out", str(tmp_path / "a.safetensors")]) == 1  # of two widths
    out = tmp_path / "prior.safetensors"
    assert main([*words, "--widths", "project", "--out", str(out)]) == 0
    prior = load_prior(out)
    assert prior.centroids.shape == (32, 16)
