"""MOS predictors: packages that are fakes, and the real ones where they are installed."""

import importlib.util
import sys
import types

import numpy as np
import pytest
import torch

from almtok.core.judges.base import RATE, JudgedAudio
from almtok.core.judges.load import load_mos

PACKAGES = [("distillmos", "distillmos"), ("dnsmos", "speechmos")]


def fake_package(folder, monkeypatch, name, **members):
    """Install a package of these members, with a file of weights."""
    (folder / name / "dnsmos_models").mkdir(parents=True)
    (folder / name / "__init__.py").write_text("")
    (folder / name / "weights.pt").write_bytes(b"weights of " + name.encode())
    (folder / name / "dnsmos_models" / "a.onnx").write_bytes(b"model")
    module = types.ModuleType(name)
    module.__dict__.update(members)
    module.__spec__ = importlib.util.spec_from_file_location(name, folder / name / "__init__.py")
    monkeypatch.setitem(sys.modules, name, module)


class Loudness(torch.nn.Module):
    """Stands for the model of DistillMOS."""

    def forward(self, wavs):
        assert wavs.dim() == 2 and wavs.dtype == torch.float32
        return 1 + wavs.abs().max().reshape(1, 1)


def test_packages_are_asked_as_they_expect(tmp_path, monkeypatch, capsys):
    def run(wav, rate):
        assert wav.ndim == 1 and rate == RATE and np.abs(wav).max() <= 1
        return {f"{name}_mos": np.float64(len(wav)) for name in ("ovrl", "sig", "bak", "p808")}

    def model():
        print("weights loaded from /a/path")
        return Loudness()

    fake_package(tmp_path, monkeypatch, "distillmos", ConvTransformerSQAModel=model)
    fake_package(tmp_path, monkeypatch, "speechmos", dnsmos=types.SimpleNamespace(run=run))
    for name in ("onnxruntime", "librosa", "requests"):
        fake_package(tmp_path, monkeypatch, name)
    judges = load_mos(["dnsmos", "distillmos", "dnsmos"])
    assert [judge.role for judge in judges] == ["dnsmos", "distillmos"]
    assert all("(weights " in judge.name for judge in judges)
    assert judges[0].name != judges[1].name and "speechmos" in judges[0].pinned
    clips = [JudgedAudio(np.full(RATE, 2.0, np.float32), RATE),
             JudgedAudio(np.full(24_000, 0.5), 24_000)]  # fmt: skip
    found = judges[0].judge_all(clips)
    assert found[0] == dict.fromkeys(
        ("dnsmos_ovrl", "dnsmos_sig", "dnsmos_bak", "dnsmos_p808"), 16_000.0
    )
    scores = [one["distillmos"] for one in judges[1].judge_all(clips)]
    assert scores[0] == 3 and scores[1] == pytest.approx(1.5, abs=0.1)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(("name", "package"), PACKAGES)
def test_a_missing_package_is_named_with_the_extra(name, package, monkeypatch):
    monkeypatch.setattr("almtok.core.judges.base.find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match=rf"{package}, .*'almtok\[judges\]'"):
        load_mos([name])


def test_other_names_are_refused():
    with pytest.raises(ValueError, match="must be one of distillmos, dnsmos, got 'utmos'"):
        load_mos(["utmos"])
    assert load_mos([]) == []


@pytest.mark.parametrize(("name", "package"), PACKAGES)
def test_the_real_ones_score_noise_as_bad(name, package):
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"needs {package}, of the extra judges")
    (judge,) = load_mos([name])
    noise = 0.1 * np.random.default_rng(0).standard_normal(2 * RATE).astype(np.float32)
    (found,) = judge.judge_all([JudgedAudio(noise, RATE)])
    assert all(1 <= value < 2.5 for value in found.values())
