"""Recipes of language models run for a step: in every size, made smaller, and on a backbone."""

import json

import numpy as np
import pytest
import soundfile

from almtok.__main__ import main
from almtok.codec.config import ALMTokenizerConfig
from almtok.codec.model import ALMTokenizer
from almtok.lm.model import AudioLM
from almtok.recipes import cli

from .conftest import save_text_model

SMALLER = {
    "backbone": {
        "hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "vocab_size": 300,
        "num_attention_heads": 2, "num_key_value_heads": 1,
    }
}  # fmt: skip
DOMAINS = {
    "tts": ["speech"], "asr": ["speech"], "text_to_audio": ["sound"], "text_to_music": ["music"],
    "captioning": ["sound", "music"], "multitask": ["speech", "sound", "music"],
}  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A codec, a text model without a pad token as LLaMA 3.2 is one, and a clip of each domain."""
    folder = tmp_path_factory.mktemp("made")
    ALMTokenizer(ALMTokenizerConfig.preset("tiny")).save_pretrained(folder / "codec")
    save_text_model(folder / "text")
    rng = np.random.default_rng(0)
    for domain in ("speech", "sound", "music"):
        (folder / domain).mkdir()
        soundfile.write(folder / domain / "a.wav", 0.1 * rng.standard_normal(48_000), 24_000)
        (folder / domain / "a.txt").write_text("one two three")
    return folder


def run_a_step(recipe, made, out, *words):
    """Encode the clips and train for a step; the last stage, which evaluates, is left out."""
    sources = [f"{domain}={made / domain}" for domain in DOMAINS[recipe]]
    given = [word for part in ("--train", "--valid", "--test") for word in (part, *sources)]
    given += ["--codec", str(made / "codec"), "--out", str(out), *words]
    for name, value in {
        "steps": "1", "batch-positions": "256", "samples": "0", "warmup-steps": "1",
        "device": "cpu", "precision": "fp32", "validation-items": "2", "num-workers": "0",
    }.items():  # fmt: skip
        given += [f"--lm.{name}", value]
    _, run = cli.parse(recipe, [*given, "--lm.tracker", "none"])
    for stage in run.stages[:-1]:
        if stage.config is not None:
            stage.config_file(run.out).write_text(json.dumps(stage.config.to_dict()))
        assert main(stage.argv(run.out)[1:]) == 0, stage.name
    return AudioLM.from_pretrained(out / "lm/model")


@pytest.mark.parametrize(
    ("recipe", "size"),
    [(recipe, "small") for recipe in DOMAINS if recipe != "multitask"]
    + [("tts", "tiny"), ("tts", "mini")],
)
def test_every_recipe_and_size_runs_for_a_step(recipe, size, made, tmp_path):
    words = ["--size", size, "--lm.model", json.dumps(SMALLER)]
    lm = run_a_step(recipe, made, tmp_path, *words)
    assert lm.config.depth_layers == {"small": 4}.get(size, 2)


@pytest.mark.parametrize("recipe", ["multitask", "asr"])
def test_a_backbone_without_a_pad_token_is_adapted(recipe, made, tmp_path):
    words = ["--backbone", str(made / "text")]
    lm = run_a_step(recipe, made, tmp_path, *words)
    assert (lm.config.depth_layers, lm.config.depth_width) == (6, 64)
    assert lm.config.backbone.pad_token_id is None
    assert lm.config.ctc_weight == {"asr": 0.3}.get(recipe, 0)
