"""Captions in other words: the same codes, and never nothing said."""

import sys

import numpy as np
import pytest
import soundfile
import torch

from almtok.codec.checkpoints import DEFAULT
from almtok.codec.model import ALMTokenizer
from almtok.lm.data import TokenDataset, TokenizeConfig, tokenize_corpus
from almtok.recipes.multitask.retelling import main, retell


@pytest.mark.parametrize(
    ("caption", "label"),
    [("A heavy rainstorm.", "rain"), ("Is it on?", ""), ("Glass", "glass"), ("A.", "letter")],
)
def test_a_caption_is_told_in_many_ways_and_never_without_what_it_says(caption, label):
    rng = np.random.default_rng(0)
    told = [retell(caption, label, rng) for _ in range(200)]
    assert len(set(told)) > 20
    words = {word.strip(".,?").lower() for word in caption.split()} | set(label.split())
    for one in told:
        assert one[0].isupper() and one.endswith(".") and "{" not in one
        assert words & {word.strip(".,?").lower() for word in one.split()}, one


def test_the_same_seed_tells_the_same():
    first, again, other = (
        [retell("A dog barks twice.", "dog", rng) for _ in range(8)]
        for rng in map(np.random.default_rng, (1, 1, 2))
    )
    assert first == again != other


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Three sounds, one of them without a class and one without a caption, and their tokens."""
    folder = tmp_path_factory.mktemp("sounds")
    rows = ["audio,text,domain,label"]
    for number, (text, label) in enumerate(
        (("A glass breaking.", "glass"), ("A bell.", ""), ("", "playing cards"))
    ):
        wav = 0.1 * np.random.default_rng(number).standard_normal(6000)
        soundfile.write(folder / f"{number}.wav", wav, 24_000)
        rows.append(f"{number}.wav,{text},sound,{label}")
    (folder / "manifest.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    codec = ALMTokenizer.from_pretrained(DEFAULT / "codec").eval()
    sources = [str(folder / "manifest.csv")]
    tokenize_corpus(sources, codec, folder / "tokens", TokenizeConfig(), progress=False)
    return folder


def run(monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", ["retelling", *map(str, words)])
    main()


def test_every_caption_is_written_so_many_times(corpus, tmp_path, monkeypatch, capsys):
    given = [corpus / "manifest.csv", "--tokens", corpus / "tokens", "--out", tmp_path]
    run(monkeypatch, *given, "--times", "3")
    assert "6 rows told otherwise" in capsys.readouterr().out
    told, retold = TokenDataset(corpus / "tokens"), TokenDataset(tmp_path)
    assert len(retold) == 6 and len({retold[n].id for n in range(6)}) == 6
    for n in range(6):
        new, old = retold[n], told[n % 2]
        assert torch.equal(new.codes, old.codes) and new.text
        assert (new.domain, new.num_samples, new.split) == (old.domain, old.num_samples, old.split)
    with pytest.raises(ValueError, match="at least once; came times=0"):
        run(monkeypatch, *given, "--times", "0")
