"""Studies: one change at a time, and the table of what a language model makes of the codes."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from almtok.__main__ import main
from almtok.codec.phonemes.config import SILENCE
from almtok.recipes import cli
from almtok.recipes.studies import first_codes, layers, recipe

SOURCES = ["--train", "speech=a/", "--valid", "speech=b/", "--test", "speech=c/"]


def test_a_variant_differs_from_the_whole_by_its_change_alone():
    o = recipe.Options(out="x", train=["a"], valid=["b"], test=["c"])
    whole = recipe.variant(o, "whole").to_dict()
    for name, changes in recipe.ABLATIONS.items():
        made = recipe.variant(o, name, **changes).to_dict()
        different = {key for key in made if made[key] != whole[key]}
        assert different == ({"out", *changes} if changes else set()), name


def test_stages_are_those_of_the_studies_that_are_asked_for():
    def names(*words):
        return [stage.name for stage in cli.parse("studies", [*SOURCES, *words])[1].stages]

    assert names()[2:] == [*recipe.ABLATIONS, "scores"]
    assert names("--study", "rates")[2:] == ["whole", "rates"]
    assert names("--study", "tokens")[2:4] == ["whole", "no-autoregressive"]
    assert names("--study", "tokens")[-1] == "tokens"
    priors = names("--study", "priors")
    assert priors[1:3] == ["listener", "listener-prior-file"]
    assert priors[4:7] == ["whole", "listener-prior", "no-prior"]
    assert priors[-2:] == ["priors", "first-codes"]
    assert "listener" not in names("--study", "priors", "--listener", "mine.safetensors")


def test_an_unknown_study_is_one_line(capsys):
    assert main(["run", "studies", *SOURCES, "--study", "rate"]) == 1
    assert "there are ablations, rates, tokens, priors" in capsys.readouterr().err


def test_layers_of_runs_side_by_side(tmp_path, capsys):
    for name, loss in (("one-lm", 1.5), ("two-lm", 2.5)):
        losses = {"audio_1": loss, "audio_2": 2 * loss}
        accuracies = {"audio_1": 0.5, "audio_2": 0.25}
        line = {"step": 1, "validation": {"x": {"losses": losses, "accuracies": accuracies}}}
        (tmp_path / name).mkdir()
        (tmp_path / name / "metrics.jsonl").write_text(json.dumps(line) + "\n")
    runs = [str(tmp_path / name) for name in ("one-lm", "two-lm")]
    layers.main([*runs, "--out", str(tmp_path / "table.md")])
    assert "| one-lm | 1.500 (50.0 %) | 3.000 (25.0 %) |" in (tmp_path / "table.md").read_text()
    with pytest.raises(ValueError, match="no run folder"):
        layers.table([tmp_path])


class Coder:
    """A codec whose first code is what `tell` makes of the phone in a window of six frames."""

    sample_rate, codebook_size = 24_000, 50

    def __init__(self, tell):
        self.tell = tell

    def tokenize(self, wav, sample_rate):
        first = [self.tell(int(phone)) for phone in wav[:: 6 * 320]]
        return SimpleNamespace(codes=torch.tensor([first, first]), frames_per_query=6)


def test_first_codes_that_say_phones_and_such_that_do_not():
    rng = np.random.default_rng(0)
    clips = []
    for _ in range(8):
        phones = rng.integers(0, 20, 40).repeat(6)  # one phone for each window
        phones[:12] = SILENCE
        clips.append((phones.repeat(320).astype(np.float32), phones))
    sure = first_codes.first_codes(Coder(lambda phone: phone), "sure", clips)
    assert sure.named == 1.0 and sure.silent == 2 / 40 and sure.used == 21 / 50
    vague = first_codes.first_codes(Coder(lambda phone: phone // 2), "vague", clips)
    assert 0.4 < vague.named < 0.65
    blind = first_codes.first_codes(Coder(lambda _: int(rng.integers(50))), "blind", clips)
    assert blind.named < 0.15 and blind.perplexity > 35
    text = first_codes.table([sure, blind])
    assert "| sure | 42 % |" in text and "100.0 %" in text


@pytest.mark.slow
def test_an_ablation_runs_for_a_step(at_the_hub, tmp_path):
    words = ["run", "studies", "--corpus", "clotho", "--size", "tiny", "--steps", "2"]
    words += ["--out", str(tmp_path / "out"), "--to", "no-masked"]
    for stage in ("stage1", "whole", "no-masked"):
        words += [f"--{stage}.batch-size", "2", f"--{stage}.segment-seconds", "0.5"]
        words += [f"--{stage}.num-workers", "0", f"--{stage}.precision", "fp32"]
        words += [f"--{stage}.model", "{}"] if stage == "stage1" else []
    (tmp_path / "prior").mkdir()
    assert main([*words, "--to", "stage1", "--from", "stage1"]) == 0
    assert (tmp_path / "out/stage1/model/config.json").exists()
