"""Sounds that are called by their class alone: the same codes, another text."""

import sys

import numpy as np
import pytest
import soundfile
import torch

from almtok.codec.checkpoints import DEFAULT
from almtok.codec.model import ALMTokenizer
from almtok.lm.data import TokenDataset, TokenizeConfig, tokenize_corpus
from almtok.recipes.multitask.naming import main


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Three sounds, of which two have a class, and their tokens."""
    folder = tmp_path_factory.mktemp("sounds")
    rows = ["audio,text,domain,label"]
    for number, label in enumerate(("glass", "", "playing cards")):
        wav = 0.1 * np.random.default_rng(number).standard_normal(6000)
        soundfile.write(folder / f"{number}.wav", wav, 24_000)
        rows.append(f"{number}.wav,A caption of {number}.,sound,{label}")
    (folder / "manifest.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    codec = ALMTokenizer.from_pretrained(DEFAULT / "codec").eval()
    config = TokenizeConfig(loudness_dbfs=-20.0)
    sources = [str(folder / "manifest.csv")]
    tokenize_corpus(sources, codec, folder / "tokens", config, progress=False)
    return folder


def run(monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", ["naming", *map(str, words)])
    main()


def test_what_has_a_class_is_called_by_it(corpus, tmp_path, monkeypatch, capsys):
    manifest = corpus / "manifest.csv"
    run(monkeypatch, manifest, "--tokens", corpus / "tokens", "--out", tmp_path)
    assert "2 sounds called by their class" in capsys.readouterr().out
    told, named = TokenDataset(corpus / "tokens"), TokenDataset(tmp_path)
    assert [row.text for row in (named[0], named[1])] == ["Glass.", "Playing cards."]
    for new, old in ((named[0], told[0]), (named[1], told[2])):
        assert torch.equal(new.codes, old.codes) and new.id != old.id
        assert (new.domain, new.num_samples, new.split) == (old.domain, old.num_samples, old.split)
        assert new.fingerprint == old.fingerprint


def test_without_classes_it_says_what_is_missing(corpus, tmp_path, monkeypatch):
    other = tmp_path / "other"
    other.mkdir()
    soundfile.write(other / "x.wav", np.zeros(2400) + 0.1, 24_000)
    with pytest.raises(ValueError, match="none of the 3 rows .* have 0 such recordings"):
        run(monkeypatch, f"sound={other}", "--tokens", corpus / "tokens", "--out", tmp_path / "n")
