"""Other captions for the same codes: class names and rephrased captions."""

import sys

import numpy as np
import pytest
import soundfile
import torch

from almtok.codec.checkpoints import DEFAULT
from almtok.codec.model import ALMTokenizer
from almtok.lm.data import TokenDataset, TokenizeConfig, tokenize_corpus
from almtok.recipes.transforms.captions import main_class_names, main_rephrased, rephrase


@pytest.mark.parametrize(
    ("caption", "label"),
    [("A heavy rainstorm.", "rain"), ("Is it on?", ""), ("Glass", "glass"), ("A.", "letter")],
)
def test_a_caption_has_many_wordings_that_all_keep_content(caption, label):
    rng = np.random.default_rng(0)
    made = [rephrase(caption, label, rng) for _ in range(200)]
    assert len(set(made)) > 20
    words = {word.strip(".,?").lower() for word in caption.split()} | set(label.split())
    for one in made:
        assert one[0].isupper() and one.endswith(".") and "{" not in one
        assert words & {word.strip(".,?").lower() for word in one.split()}, one


def test_wordings_depend_on_the_seed_only():
    first, again, other = (
        [rephrase("A dog barks twice.", "dog", rng) for _ in range(8)]
        for rng in map(np.random.default_rng, (1, 1, 2))
    )
    assert first == again != other


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Three sounds, one without a class and one without a caption, and their token shards."""
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
    config = TokenizeConfig(loudness_dbfs=-20.0)
    sources = [str(folder / "manifest.csv")]
    tokenize_corpus(sources, codec, folder / "tokens", config, progress=False)
    return folder


def run(main, monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", ["captions", *map(str, words)])
    main()


def check_copy(new, old):
    assert torch.equal(new.codes, old.codes) and new.id != old.id
    assert (new.domain, new.num_samples, new.split) == (old.domain, old.num_samples, old.split)
    assert new.fingerprint == old.fingerprint


def test_rows_with_a_class_get_its_name_as_caption(corpus, tmp_path, monkeypatch, capsys):
    given = [corpus / "manifest.csv", "--tokens", corpus / "tokens", "--out", tmp_path]
    run(main_class_names, monkeypatch, *given)
    assert "2 sounds with their class" in capsys.readouterr().out
    before, named = TokenDataset(corpus / "tokens"), TokenDataset(tmp_path)
    assert [row.text for row in (named[0], named[1])] == ["Glass.", "Playing cards."]
    for new, old in ((named[0], before[0]), (named[1], before[2])):
        check_copy(new, old)


def test_sources_without_classes_are_an_error(corpus, tmp_path, monkeypatch):
    other = tmp_path / "other"
    other.mkdir()
    soundfile.write(other / "x.wav", np.zeros(2400) + 0.1, 24_000)
    given = [f"sound={other}", "--tokens", corpus / "tokens", "--out", tmp_path / "n"]
    with pytest.raises(ValueError, match="none of the 3 rows .* have 0 such recordings"):
        run(main_class_names, monkeypatch, *given)


def test_every_caption_is_rephrased_several_times(corpus, tmp_path, monkeypatch, capsys):
    given = [corpus / "manifest.csv", "--tokens", corpus / "tokens", "--out", tmp_path]
    run(main_rephrased, monkeypatch, *given, "--times", "3")
    assert "6 rows with a rephrased caption" in capsys.readouterr().out
    before, made = TokenDataset(corpus / "tokens"), TokenDataset(tmp_path)
    assert len(made) == 6 and len({made[n].id for n in range(6)}) == 6
    for n in range(6):
        check_copy(made[n], before[n % 2])
        assert made[n].text
    with pytest.raises(ValueError, match="times must be at least 1, got 0"):
        run(main_rephrased, monkeypatch, *given, "--times", "0")
