"""Prompts of ours: what is made of them, who is asked, and what is written."""

import json
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import torch

from almtok.recipes.mini.sounds import make_sound
from almtok.recipes.multitask import prompts
from almtok.recipes.multitask.prompts import PROMPTS, ask, main, to_markdown, told


class Judge:
    """Calls long sounds rain."""

    def __init__(self, *classes):
        self.classes = classes

    def name(self, wav, sample_rate):
        return "rain" if len(wav) > sample_rate else "dog"


class Maker:
    """Makes seconds of a sound by its seed."""

    def __init__(self):
        self.seeds = []

    def make(self, task, rows, *, seconds, seeds):
        assert task == "text_to_audio" and len(rows) == len(seeds)
        self.seeds += seeds
        return [
            SimpleNamespace(wav=torch.zeros(240 * (1 + seed % 2)), sample_rate=240)
            for seed in seeds
        ]


def test_every_draw_has_a_seed_and_a_name():
    maker = Maker()
    asked = ask(maker, {"a": Judge("dog", "rain"), "b": Judge("rain", "dog", "bell")},
                {"rain": ("It rains.", "Rain again."), "bell": ("A bell.",)}, draws=4)  # fmt: skip
    assert [one.prompt for one in asked] == ["It rains.", "Rain again."]  # a knows no bell
    assert maker.seeds == list(range(8))
    assert asked[0].names["a"] == ("dog", "rain", "dog", "rain") and asked[0].share("a") == 0.5
    assert told(asked)["b"].mean == 0.5 and told(asked)["b"].n == 2
    text = to_markdown(asked)
    assert "Sounds of 2 prompts for 1 classes" in text and "| a | 50.0 [50.0, 50.0] |" in text


def test_mistakes_are_named():
    with pytest.raises(ValueError, match="prompts are of rain, recordings of dog"):
        ask(Maker(), {"a": Judge("dog")}, {"rain": ("It rains.",)})
    with pytest.raises(ValueError, match="draws must be at least 1; came 0"):
        ask(Maker(), {"a": Judge("rain")}, {"rain": ("It rains.",)}, draws=0)


def test_prompts_are_sentences_and_said_once():
    texts = [text for some in PROMPTS.values() for text in some]
    assert len(set(texts)) == len(texts) > 50
    assert all(text[0].isupper() and text.endswith(".") for text in texts)


@pytest.mark.slow
def test_the_model_that_ships_is_asked(tmp_path, monkeypatch):
    rows = []
    for kind in ("rain", "bell"):
        for seed in range(8):
            _, wav = make_sound(kind, np.random.default_rng(seed), 24_000)
            soundfile.write(tmp_path / f"{kind}{seed}.wav", wav, 24_000)
            rows.append({"audio": f"{kind}{seed}.wav", "label": kind})
    manifest = tmp_path / "manifest.jsonl"
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
    monkeypatch.setattr(prompts, "PROMPTS", {"rain": ("It is raining hard.",)})
    out = tmp_path / "out"
    words = ["prompts", "--classes", f"sound={manifest}", "--out", str(out), "--draws", "2"]
    monkeypatch.setattr(sys, "argv", words)
    main()
    (one,) = json.loads((out / "told.json").read_text())["asked"]
    assert set(one["names"]) == {"named", "coded"} and len(one["names"]["named"]) == 2
    assert "| named |" in (out / "told.md").read_text()
