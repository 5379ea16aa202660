"""Speaker encoders: an x-vector model of random weights, Resemblyzer with made and real weights."""

import importlib.util

import numpy as np
import pytest
import torch
from transformers import WavLMModel

from almtok.core.judges import speakers
from almtok.core.judges.base import RATE, JudgedAudio
from almtok.core.judges.load import load_speaker_encoder

from ...tiny_judges import save_xvector


def voice(hz, seconds=2.0, seed=0):
    """A buzz with the pitch and the formants of a voice [S]."""
    rng = np.random.default_rng(seed)
    t = np.arange(int(seconds * RATE)) / RATE
    parts = [
        np.exp(-((k * hz - 500) ** 2) / 2e6) * np.sin(2 * np.pi * k * hz * t) for k in range(1, 30)
    ]
    return (0.05 * np.sum(parts, 0) + 0.001 * rng.standard_normal(t.size)).astype(np.float32)


def test_an_xvector_model_embeds_each_clip_alone(tmp_path):
    encoder = load_speaker_encoder(str(save_xvector(tmp_path / "tiny-sv")), device="cpu")
    assert encoder.name.startswith("tiny-sv (weights ") and "float32" in encoder.name
    clips = [JudgedAudio(voice(100), RATE), JudgedAudio(voice(250, 3.0), RATE)]
    found = encoder.judge_all(clips)
    assert [len(one["embedding"]) for one in found] == [8, 8]
    assert np.linalg.norm(found[0]["embedding"]) == pytest.approx(1, abs=1e-5)
    assert found[1:] == encoder.judge_all(clips[1:])
    assert speakers.cosine(found[0]["embedding"], found[1]["embedding"]) < 0.99999
    assert not encoder.embed(np.zeros(RATE, np.float32)).any()


def test_a_model_without_an_xvector_head_is_refused(tmp_path):
    folder = save_xvector(tmp_path / "base", WavLMModel)
    with pytest.raises(ValueError, match="has no x-vector head: it lacks feature_extractor"):
        load_speaker_encoder(str(folder))
    with pytest.raises(ValueError, match="speaker encoder must be resemblyzer, or a") as caught:
        load_speaker_encoder(str(tmp_path / "none"))
    assert "\n" not in str(caught.value)
    assert load_speaker_encoder("none") is None
    path = save_xvector(tmp_path / "cut") / "model.safetensors"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ValueError, match="not a readable safetensors file") as caught:
        load_speaker_encoder(str(path.parent))
    assert "\n" not in str(caught.value)


def test_windows_are_those_of_resemblyzer():
    # Values of VoiceEncoder.compute_partial_slices(samples, 1.3, 0.75).
    assert speakers._window_starts(8_000) == [0]
    assert speakers._window_starts(25_600) == [0]
    assert speakers._window_starts(38_000) == [0, 77]
    assert speakers._window_starts(80_000) == [0, 77, 154, 231, 308, 385][:5]


def test_resemblyzer_is_read_from_its_package_which_is_not_imported(tmp_path, monkeypatch):
    package = tmp_path / "resemblyzer"
    package.mkdir()
    (package / "__init__.py").write_text("raise ImportError('needs pkg_resources')")
    lstm, linear = torch.nn.LSTM(40, 256, 3, batch_first=True), torch.nn.Linear(256, 256)
    state = {f"lstm.{key}": value for key, value in lstm.state_dict().items()}
    state |= {f"linear.{key}": value for key, value in linear.state_dict().items()}
    torch.save({"model_state": state | {"similarity_weight": torch.ones(1)}},
               package / "pretrained.pt")  # fmt: skip
    monkeypatch.syspath_prepend(tmp_path)
    encoder = load_speaker_encoder("resemblyzer")
    assert encoder.name.startswith("resemblyzer (weights ")
    loud, quiet = voice(150), voice(150) * 1e-2
    assert encoder.embed(loud).shape == (256,)
    assert np.linalg.norm(encoder.embed(loud[:4000])) == pytest.approx(1, abs=1e-5)
    # Quiet speech is raised to -30 dBFS.
    assert np.allclose(encoder.embed(quiet), encoder.embed(quiet * 0.1), atol=1e-5)
    assert not encoder.embed(np.zeros(RATE, np.float32)).any()


def test_a_missing_package_is_named_with_the_extra(monkeypatch):
    monkeypatch.setattr("almtok.core.judges.base.find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'almtok\[judges\]'") as caught:
        load_speaker_encoder("resemblyzer")
    assert "pip install --no-deps Resemblyzer" in str(caught.value)


def test_the_real_resemblyzer_tells_voices_apart():
    if importlib.util.find_spec("resemblyzer") is None:
        pytest.skip("needs Resemblyzer, of the extra judges")
    encoder = load_speaker_encoder("resemblyzer")
    low, same, high = (encoder.embed(voice(hz, seed=n)) for n, hz in enumerate((110, 110, 240)))
    assert speakers.cosine(low, same) > 0.99 > 0.9 > speakers.cosine(low, high)
