"""From audio to the file: killed at any place and started again, the bytes are the same."""

import os
import signal
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from almtok.codec.phonemes import PhonemeClassifier, PhonemeClassifierConfig
from almtok.codec.priors import PriorConfig, build_prior, load_prior
from almtok.codec.priors import build as module
from almtok.codec.priors.build import match_widths, orthonormal_rows
from almtok.codec.priors.kmeans import kmeans
from almtok.codec.priors.vectors import ShardVectors

from ...pace import wait_until
from .arrays import ArrayCorpus, noises
from .slow_build import SMALL

SCRIPT = Path(__file__).parent / "slow_build.py"


def small(**overrides):
    return PriorConfig(**(SMALL | overrides))


def test_from_audio_to_file(tmp_path):
    out = tmp_path / "prior.safetensors"
    prior = build_prior(small(), noises(), out)
    assert (prior.codebook_size, prior.dim, prior.num_speech) == (32, 32, 16)
    assert prior.metadata["speech"]["teacher"] == "spectral:speech"
    assert prior.metadata["sound"]["teacher"] == "spectral:sound"
    assert prior.metadata["speech"]["clips"] == 6 and prior.metadata["sound"]["clips"] == 6
    assert int(prior.counts[:16].sum()) == prior.metadata["speech"]["vectors"]
    assert int(prior.counts[16:].sum()) == prior.metadata["sound"]["vectors"]
    for half in (prior.centroids[:16], prior.centroids[16:]):
        assert half.norm(dim=1).mean().item() == pytest.approx(1, abs=1e-5)
    # Nothing is left behind, and the file says all of it.
    assert [path.name for path in tmp_path.iterdir()] == [out.name]
    assert "16 speech + 16 sound" in load_prior(out).describe()


def test_a_finished_prior_is_not_made_again(tmp_path, monkeypatch):
    out = tmp_path / "prior.safetensors"
    first = build_prior(small(), noises(), out)
    monkeypatch.setattr(module, "make_teacher", None)
    assert torch.equal(build_prior(small(), noises(), out).centroids, first.centroids)


def test_other_settings_never_replace_a_file_unasked(tmp_path):
    out = tmp_path / "prior.safetensors"
    build_prior(small(), noises(), out)
    with pytest.raises(ValueError, match="built with other settings"):
        build_prior(small(seed=1), noises(), out)
    with pytest.raises(ValueError, match="built with other settings"):
        build_prior(small(), noises(seed=1), out)
    assert build_prior(small(seed=1), noises(), out, force=True).metadata["seed"] == 1
    out.write_bytes(b"something else")
    with pytest.raises(ValueError, match="not a readable"):
        build_prior(small(), noises(), out)
    assert out.read_bytes() == b"something else"


def rewritten(path, change, files):
    """A prior file as an earlier version wrote it: other settings, teachers by their sizes."""
    prior = load_prior(path)
    settings = change(dict(prior.metadata["config"]))
    identity = module._identity(settings, noises(), files)
    about = {**prior.metadata, "config": settings, "identity": identity}
    replace(prior, metadata=about).save(path)


def without(*names):
    return lambda settings: {name: v for name, v in settings.items() if name not in names}


@pytest.mark.parametrize(
    "change",
    [
        without("widths", "normalize"),  # fields that came later
        lambda settings: {**settings, "epochs": 4, "passes": 10, "batch_size": 8192},  # and went
        lambda settings: settings,
    ],
)
def test_files_of_earlier_versions_are_those_of_the_same_command(tmp_path, monkeypatch, change):
    out = tmp_path / "prior.safetensors"
    plain = small(passes=20)
    build_prior(plain, noises(), out)
    rewritten(out, change, [None, None])
    monkeypatch.setattr(module, "make_teacher", None)
    assert build_prior(plain, noises(), out).codebook_size == 32
    for other in (small(passes=20, widths="pad"), small(passes=3), small(passes=20, seed=1)):
        with pytest.raises(ValueError, match="built with other settings"):
            build_prior(other, noises(), out)
    with pytest.raises(ValueError, match="built with other settings"):
        build_prior(plain, noises(seed=1), out)


def test_a_teacher_of_other_content_is_another_one(tmp_path):
    """Same path, same size, other weights."""
    out, teacher = tmp_path / "prior.safetensors", tmp_path / "teacher"
    config = small(teacher_speech=f"listener:{teacher}", widths="pad")
    torch.manual_seed(0)
    PhonemeClassifier(PhonemeClassifierConfig(width=16)).save(teacher)
    first, size = build_prior(config, noises(), out), teacher.stat().st_size
    assert torch.equal(build_prior(config, noises(), out).centroids, first.centroids)
    PhonemeClassifier(PhonemeClassifierConfig(width=16)).save(teacher)
    assert teacher.stat().st_size == size
    with pytest.raises(ValueError, match="other settings, teachers or clips"):
        build_prior(config, noises(), out)
    again = build_prior(config, noises(), out, force=True)
    assert not torch.equal(again.centroids, first.centroids)


def test_the_digest_of_a_folder_is_that_of_its_content(tmp_path):
    for name, text in (("a", "one"), ("b", "one"), ("c", "two")):
        (tmp_path / name / "sub").mkdir(parents=True)
        (tmp_path / name / "config.json").write_text("{}")
        (tmp_path / name / "sub" / "weights").write_text(text)
    (tmp_path / "b" / ".cache").write_text("of a download")
    one, same, other = (module._digest(tmp_path / name) for name in "abc")
    assert one == same != other
    assert module._digest(tmp_path / "facebook" / "hubert") is None


def test_the_order_of_clips_does_not_matter(tmp_path):
    corpus = noises()
    turned = ArrayCorpus(
        [(c.id, c.domain, corpus.arrays[c.number]) for c in reversed(corpus.clips)]
    )
    build_prior(small(), corpus, tmp_path / "a")
    build_prior(small(), turned, tmp_path / "b")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_one_half_needs_no_audio_of_the_other(tmp_path):
    prior = build_prior(small(num_speech=32), noises(sound=0, music=0), tmp_path / "a")
    assert prior.num_speech == 32 and "sound" not in prior.metadata
    with pytest.raises(ValueError, match="no audio for the sound half: 0 of 6 clips"):
        build_prior(small(), noises(sound=0, music=0), tmp_path / "b")


def test_too_little_audio_is_named(tmp_path):
    with pytest.raises(
        ValueError, match="speech half needs at least 5000 vectors, got .* from 6 clips"
    ):
        build_prior(small(codebook_size=10000), noises(), tmp_path / "a")


def test_what_either_half_lacks_is_found_before_the_first_is_computed(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "extract", None)
    short = noises(sound=1, music=0)
    with pytest.raises(ValueError, match="no audio for the sound half"):
        build_prior(small(), noises(sound=0, music=0), tmp_path / "a")
    with pytest.raises(ValueError, match="the sound half needs at least 4999 vectors"):
        build_prior(small(codebook_size=5000, num_speech=1), short, tmp_path / "a")
    PhonemeClassifier(PhonemeClassifierConfig(width=16)).save(tmp_path / "classifier")
    with pytest.raises(ValueError, match="same width, got speech 16 and sound 32"):
        build_prior(
            small(teacher_speech=f"phonemes:{tmp_path}/classifier"), noises(), tmp_path / "a"
        )


def test_vectors_are_thinned_to_the_wanted_number(tmp_path):
    prior = build_prior(small(max_vectors=100), noises(), tmp_path / "a")
    assert prior.metadata["speech"]["vectors"] == pytest.approx(100, rel=0.15)


def test_broken_features_name_the_clip(tmp_path):
    arrays = [("bad", "speech", np.full(24000, np.nan, np.float32))]
    with pytest.raises(ValueError, match="clip 'bad' are NaN or infinite"):
        build_prior(small(num_speech=32), ArrayCorpus(arrays), tmp_path / "a")


def start(out, pattern):
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}
    return subprocess.Popen(
        [sys.executable, str(SCRIPT), str(out), pattern],
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("pattern", ["speech/features-00001.npy", "sound/kmeans.safetensors"])
def test_killed_and_started_again_gives_the_same_bytes(tmp_path, pattern):
    whole = tmp_path / "whole.safetensors"
    build_prior(small(), noises(), whole)
    out = tmp_path / "killed.safetensors"
    process = start(out, pattern)
    written = partial(tmp_path.glob, f".killed*work*/{pattern}")
    wait_until(lambda: process.poll() is not None or bool(list(written())))
    process.send_signal(signal.SIGKILL)
    _, errors = process.communicate()
    assert process.returncode == -signal.SIGKILL, errors
    assert not out.exists()
    build_prior(small(), noises(), out)
    assert out.read_bytes() == whole.read_bytes()
    assert not list(tmp_path.glob(".killed*"))


@pytest.mark.parametrize("stop_at", range(1, 14))
def test_stopped_before_any_write_gives_the_same_bytes(tmp_path, monkeypatch, stop_at):
    """The same without luck: an exception in place of each rename that the build makes."""
    whole = tmp_path / "whole.safetensors"
    build_prior(small(), noises(), whole)
    out, renames = tmp_path / "stopped.safetensors", []
    real = os.replace

    def stop(source, target):
        renames.append(target)
        if len(renames) == stop_at:
            raise KeyboardInterrupt
        real(source, target)

    monkeypatch.setattr(os, "replace", stop)
    with pytest.raises(KeyboardInterrupt):
        build_prior(small(), noises(), out)
    assert not out.exists()
    monkeypatch.setattr(os, "replace", real)
    build_prior(small(), noises(), out)
    assert out.read_bytes() == whole.read_bytes()


def test_shards_are_one_list_of_vectors(tmp_path):
    arrays = [
        np.random.default_rng(n).standard_normal((n, 3)).astype(np.float16) for n in (4, 0, 5)
    ]
    paths = [tmp_path / f"{number}.npy" for number in range(3)]
    for path, array in zip(paths, arrays, strict=True):
        np.save(path, array)
    vectors = ShardVectors.open(paths)
    joined = torch.from_numpy(np.concatenate(arrays).astype(np.float32))
    assert vectors.shape == (9, 3)
    assert torch.equal(vectors.gather(torch.arange(9)), joined)
    rows = torch.tensor([0, 3, 4, 8])
    assert torch.equal(vectors.gather(rows), joined[rows])
    assert kmeans(vectors, small().kmeans(2)).centroids.shape == (2, 3)


def test_teachers_of_different_width():
    halves = {"speech": torch.randn(20, 6), "sound": torch.randn(20, 9)}
    with pytest.raises(ValueError, match="speech 6 and sound 9"):
        match_widths(halves, small())
    padded = match_widths(halves, small(widths="pad"))
    assert padded["speech"].shape == padded["sound"].shape == (20, 9)
    assert torch.equal(padded["speech"][:, :6], halves["speech"])
    assert (padded["speech"][:, 6:] == 0).all()
    projected = match_widths(halves, small(widths="project"))
    assert projected["sound"].shape == (20, 6)
    assert torch.equal(projected["speech"], halves["speech"])
    rows = orthonormal_rows(6, 9, seed=0)
    assert torch.allclose(rows @ rows.T, torch.eye(6), atol=1e-6)
    assert torch.equal(rows, orthonormal_rows(6, 9, seed=0))
    assert not torch.equal(rows, orthonormal_rows(6, 9, seed=1))
