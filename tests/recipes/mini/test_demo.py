"""The mini recipe: its numbers fit each other, its stages are the demo's, and it runs."""

import dataclasses
import json
import subprocess
import sys

import pytest

from almtok.__main__ import build_parser, main
from almtok.codec.train import CodecTrainConfig
from almtok.codec.train.cli import resolve
from almtok.recipes import cli
from almtok.recipes.mini import STEPS, recipe


def test_stages_are_valid_configs_and_take_changes():
    first, second = recipe.stage1("runs/x"), recipe.stage2("runs/x", steps=7)
    assert (first.stage, second.stage, second.steps) == ("1", "2", 7)
    assert second.init_from == first.out
    assert CodecTrainConfig.from_dict(json.loads(json.dumps(second.to_dict()))) == second


def test_the_prior_fits_the_preset():
    from almtok import ALMTokenizerConfig

    preset = ALMTokenizerConfig.preset(recipe.PRESET)
    assert (preset.codebook_size, preset.prior_dim) == (recipe.CODEBOOK_SIZE, recipe.PRIOR_DIM)
    options = build_parser().parse_args(["codec", "prior", *recipe.prior("runs/x")])
    assert (options.codebook_size, options.spectral_width) == (256, 128)
    assert str(options.out) == recipe.stage2("runs/x").prior


def test_the_steps_of_the_demo_are_the_stages_of_the_recipe():
    _, run = cli.parse("mini", [])
    assert tuple(stage.name for stage in run.stages) == STEPS


@pytest.mark.slow
def test_the_demo_runs_from_nothing_to_a_report_and_again(quiet_environment, tmp_path, monkeypatch):
    """Every part of almtok on corpora of three minutes, with two to eight steps of training."""
    given = ["demo", "--scale", "0.005"]
    command = [sys.executable, "-m", "almtok", *given]
    result = subprocess.run(
        command, cwd=tmp_path, env=quiet_environment, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stdout + result.stderr
    out = tmp_path / "runs" / "demo"
    page = (out / "report.html").read_text()
    for words in ("<audio", "data:audio/", "WER, own ASR on recordings", "It learns a new voice"):
        assert words in page
    codec_page = (out / "reconstruction" / "report.html").read_text()
    assert "PESQ" in codec_page
    assert 'src="http' not in page + codec_page, "the reports must need no network"

    from almtok import ALMTokenizer

    codec = ALMTokenizer.from_pretrained(out / "codec")
    assert bool(codec.quantizer.layers[0].codebook.initialised)
    before = (out / "stage2" / "metrics.jsonl").read_bytes()
    told = json.loads((out / "run.json").read_text())
    assert [name for name, stage in told["stages"].items() if stage["finished"]] == list(STEPS)
    monkeypatch.chdir(tmp_path)
    assert main([*given, "--only", *(step for step in STEPS if step != "report")]) == 0
    assert (out / "stage2" / "metrics.jsonl").read_bytes() == before, "nothing is trained twice"

    config = resolve(
        build_parser().parse_args(["codec", "train", "--config", str(out / "stage1.json")])
    )
    assert dataclasses.replace(config, steps=recipe.STAGE1_STEPS) == recipe.stage1("runs/demo")
