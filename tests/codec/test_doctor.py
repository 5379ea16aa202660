"""`almtok doctor`: true findings, and a broken part is a finding, not an end."""

import importlib.metadata
import json
import types

import pytest
import torch

from almtok.__main__ import main
from almtok.codec import doctor
from almtok.codec.quantizer import ResidualQuantizer


def lines(capsys) -> list[dict]:
    return json.loads(capsys.readouterr().out)


def test_this_machine_is_in_order(tmp_path, capsys):
    assert main(["doctor", "--disk", str(tmp_path), "--json"]) == 0
    found = lines(capsys)
    parts = list(dict.fromkeys(one["part"] for one in found))
    assert parts == [
        *("packages", "audio", "devices", "auto", "quantizer", "checkpoint", "disk", "extras")
    ]
    versions = {one["name"]: one["found"] for one in found if one["part"] == "packages"}
    assert versions["torch"] == importlib.metadata.version("torch")
    assert not list(tmp_path.iterdir())


def test_a_device_that_finds_other_codes_is_bad(monkeypatch):
    honest = ResidualQuantizer.quantize
    monkeypatch.setattr(
        ResidualQuantizer, "quantize", lambda self, queries: honest(self, queries).roll(1)
    )
    (cpu,) = [one for one in doctor._quantizer() if one.name == "cpu"]
    assert cpu.state == "bad" and "do not encode" in cpu.advice


def test_a_check_that_fails_is_a_finding_and_the_others_run(monkeypatch, capsys, tmp_path):
    def broken():
        raise OSError("libsndfile.so: cannot open")
        yield

    monkeypatch.setattr(doctor, "_audio", broken)
    for name in ("_checkpoint", "_devices"):
        monkeypatch.setattr(doctor, name, lambda: iter(()))
    assert main(["doctor", "--disk", str(tmp_path)]) == 1
    out = capsys.readouterr().out
    assert "BAD  audio" in out and "libsndfile.so" in out and "1 bad" in out and "extras" in out


def test_versions_outside_of_what_was_tested_are_bad(monkeypatch):
    known = importlib.metadata.version
    versions = {"torch": "1.0", "soxr": None}

    def version(name):
        if name not in versions:
            return known(name)
        if versions[name] is None:
            raise importlib.metadata.PackageNotFoundError(name)
        return versions[name]

    monkeypatch.setattr(importlib.metadata, "version", version)
    found = {one.name: one for one in doctor._packages()}
    assert found["torch"].state == "bad" and "pip install 'torch" in found["torch"].advice
    assert found["soxr"].state == "bad" and found["soxr"].found == "not installed"
    assert found["numpy"].state == "ok"


def test_missing_extras_say_what_they_would_give(monkeypatch):
    known = importlib.metadata.version

    def version(name):
        if name == "pesq":
            raise importlib.metadata.PackageNotFoundError(name)
        return known(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    found = {one.name: one for one in doctor._extras()}
    assert found["eval"].state == "note" and "without pesq: no PESQ" in found["eval"].found
    assert found["eval"].advice == "pip install 'almtok[eval]'"


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_gpu_too():
    assert {one.name: one.state for one in doctor._quantizer()} == {"cpu": "ok", "cuda": "ok"}


@pytest.mark.parametrize(
    ("native", "speeds", "words"),
    [
        (
            True,
            {"float32": 100.0, "bfloat16": 400.0},
            ["bf16; measured, GFLOP/s: fp32 100, bf16 400"],
        ),
        (False, {"float32": 88.0, "bfloat16": 1.1}, ["fp32; measured", "takes 80 times as long"]),
        (False, {"float32": 50.0, "bfloat16": 200.0}, ["fp32; measured", "0.2 times as long"]),
    ],
)
def test_what_auto_means_and_what_would_be_slow(monkeypatch, native, speeds, words):
    monkeypatch.setattr("almtok.core.runtime.native_bfloat16", lambda *_: native)
    monkeypatch.setattr(
        "almtok.codec.doctor.product_speed", lambda _, dtype: speeds[str(dtype).split(".")[1]]
    )
    found = [one for one in doctor._auto() if one.name in ("--precision (training)", "bf16")]
    assert len(found) == len(words)
    assert all(word in one.found for word, one in zip(words, found, strict=True))
    assert [one.state for one in found[1:]] == ["note"] * (len(words) - 1)


def test_a_processor_without_the_kernels_of_8_bits_is_a_note(monkeypatch):
    quantized = types.SimpleNamespace(supported_engines=["qnnpack"])
    monkeypatch.setattr("torch.backends.quantized", quantized)
    (note,) = list(doctor._few_bits())
    assert note.state == "note" and "not supported on this processor" in note.found
