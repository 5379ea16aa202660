"""Whisper's encoder as the teacher of a prior."""

import json

import numpy as np
import pytest
import soundfile
import torch

from almtok.__main__ import main
from almtok.codec.priors import PriorConfig, load_prior, make_teacher
from almtok.codec.priors.pretrained import WhisperTeacher

from ..tiny_whisper import save_whisper


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_whisper(tmp_path_factory.mktemp("whisper"))


def noise(samples, seed=0):
    return 0.1 * torch.randn(samples, generator=torch.Generator().manual_seed(seed))


def test_alone_equals_batched_at_fifty_vectors_a_second(folder):
    teacher = make_teacher("speech", PriorConfig(teacher_speech=f"whisper:{folder}"))
    assert (teacher.dim, teacher.frame_rate, teacher.sample_rate) == (16, 50.0, 16_000)
    assert teacher.name == f"whisper:{folder}@2"
    wavs = [noise(16_000), noise(5_000, 1), noise(320, 2)]
    for wav, features in zip(wavs, teacher.features_batch(wavs), strict=True):
        assert features.shape == (len(wav) // 320, 16)
        assert torch.equal(features, teacher.features(wav))
    with pytest.raises(ValueError, match="at least 320 samples at 16000 Hz, got 319"):
        teacher.features(noise(319))
    assert teacher.piece_seconds == 3.5  # this one has positions for no more


def test_layers_are_averaged(folder):
    found = [WhisperTeacher(folder, layers=layers).features(noise(8000))
             for layers in ((1,), (2,), (1, 2))]  # fmt: skip
    torch.testing.assert_close(found[2], (found[0] + found[1]) / 2, atol=1e-5, rtol=1e-5)
    with pytest.raises(ValueError, match=r"layers must lie in 0..3, got \[4\]"):
        WhisperTeacher(folder, layers=(4,))


def test_a_prior_of_it_beside_spectra(folder, tmp_path, capsys):
    rng = np.random.default_rng(0)
    for domain in ("speech", "sound"):
        (tmp_path / domain).mkdir()
        wav = 0.1 * rng.standard_normal(48_000)
        soundfile.write(tmp_path / domain / "0.wav", wav, 24_000)
    sources = [f"{domain}={tmp_path / domain}" for domain in ("speech", "sound")]
    out = tmp_path / "prior.safetensors"
    words = ["codec", "prior", "--data", *sources, "--codebook-size", "16", "--widths", "pad",
             "--spectral-width", "16", "--out", str(out)]  # fmt: skip
    words += ["--teacher-speech", f"whisper:{folder}"]
    assert main([*words, "--layers", "9"]) == 1
    assert "layers must lie in 0..3, got [9]" in capsys.readouterr().err
    assert main(words) == 0
    assert load_prior(out).centroids.shape == (16, 16)
    assert f"whisper:{folder}@2" in json.dumps(load_prior(out).metadata)


def test_priors_of_earlier_versions_are_found_again():
    assert PriorConfig().to_dict()["layers"] == [6, 7, 8, 9]
    assert PriorConfig(layers=(6, 7, 8, 9)).to_dict() == PriorConfig().to_dict()
    named = PriorConfig(teacher_speech="whisper", layers=(6, 7, 8, 9)).to_dict()
    assert named != PriorConfig(teacher_speech="whisper").to_dict()
