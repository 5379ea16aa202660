"""Every size of the recipe of the codec runs: a step of each stage, with a model made smaller."""

import json

import numpy as np
import pytest
import soundfile

from almtok.__main__ import main
from almtok.codec.config import ALMTokenizerConfig
from almtok.codec.priors import load_prior
from almtok.recipes import cli

SMALLER = {
    "strides": [8, 5, 4, 2], "conv_channels": [1, 8, 8, 8, 16], "hidden_size": 16,
    "encoder_layers": 1, "decoder_layers": 1, "num_attention_heads": 2, "attention_window": 32,
    "codebook_dim": 8, "frames_per_query_range": [4, 8],
}  # fmt: skip
SHORT = {
    "steps": "1", "batch-size": "2", "segment-seconds": "0.4", "num-workers": "0", "device": "cpu",
    "precision": "fp32", "validate-every": "0",
}  # fmt: skip


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """Enough noise for 1,024 feature vectors of each half."""
    folder = tmp_path_factory.mktemp("audio")
    rng = np.random.default_rng(0)
    for name, seconds in (("speech", 21.5), ("sound", 43), ("held", 2)):
        (folder / name).mkdir()
        wav = 0.1 * rng.standard_normal(int(24_000 * seconds))
        soundfile.write(folder / name / "a.wav", wav, 24_000)
    both = [f"speech={folder}/speech", f"sound={folder}/sound"]
    held = f"speech={folder}/held"
    return ["--train", *both, "--valid", held, "--test", held]


@pytest.mark.parametrize("size", ["mini", "base", "paper"])
def test_every_size_runs_for_a_step_of_each_stage(size, sources, tmp_path):
    words = [*sources, "--size", size, "--out", str(tmp_path)]
    stages = ("stage1", "stage2", "adapt") if size == "mini" else ("stage1", "stage2")
    for stage in stages:
        words += [f"--{stage}.model", json.dumps(SMALLER), f"--{stage}.tracker", "none"]
        words += [f"--{stage}.discriminators", '{"hop_lengths": [256], "channel_divisor": 64}']
        words += [part for name, value in SHORT.items() for part in (f"--{stage}.{name}", value)]
    _, run = cli.parse("codec", words)
    for stage in run.stages[:-1]:  # the last compares with codecs that are programs
        if stage.config is not None:
            stage.config_file(run.out).write_text(json.dumps(stage.config.to_dict()))
        assert main(stage.argv(run.out)[1:]) == 0, stage.name
    config = ALMTokenizerConfig.from_pretrained(tmp_path / f"{stages[-1]}/model")
    assert config.prior_dim == load_prior(tmp_path / "prior.safetensors").dim
    assert config.prior_dim != ALMTokenizerConfig.preset("paper").prior_dim
