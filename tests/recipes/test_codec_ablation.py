"""The ablation of the codec: rows that differ in one choice, equal cost, one table of all."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from almtok.__main__ import main
from almtok.codec.config import ALMTokenizerConfig
from almtok.core.metrics.intervals import Interval
from almtok.recipes import cli
from almtok.recipes.codec_ablation import pace, recipe, table
from almtok.recipes.codec_ablation.rows import ROWS
from almtok.recipes.codec_ablation.table import AblationRow, collect, to_markdown

from .test_codec_sizes import SHORT, SMALLER

GIVEN = "--train speech=a/ --valid speech=b/ --test speech=c/".split()


def trainings(*words):
    _, run = cli.parse("codec_ablation", [*GIVEN, *words])
    return {stage.name: stage.config for stage in run.stages if stage.config is not None}


def test_every_row_differs_from_the_reference_in_its_choice_only():
    found = trainings()
    assert found.keys() == {"stage1", *ROWS}
    reference = found["reference"].to_dict()
    for name, row in ROWS.items():
        values = found[name].to_dict()
        changed = {field for field in values if values[field] != reference[field]} - {"out"}
        expected = set(row.changes(100)) | ({"model"} if row.model else set())
        if row.one_stage:
            expected |= {"steps", "quantize_start"}
        assert changed <= expected, name
        model = {**reference["model"], **row.model}
        assert values["model"] == model, name
        ALMTokenizerConfig.preset("mini", **model)
    assert found["one_stage"].init_from is None and not found["one_stage"].freeze_patchify
    assert found["mirror_gan"].uses_discriminators and not found["mirror"].uses_discriminators


def test_rows_are_chosen_by_name(capsys):
    assert list(trainings("--rows", "istft", "mirror")) == ["stage1", "mirror", "istft"]
    assert list(trainings("--rows", "one_stage")) == ["one_stage"]
    assert main(["run", "codec_ablation", *GIVEN, "--rows", "mirrors"]) == 1
    assert "rows must be among reference, trainable" in capsys.readouterr().err


def test_rows_have_equal_steps():
    found = trainings("--steps", "1000")
    first = found.pop("stage1").steps
    assert first == 200
    for name, config in found.items():
        assert config.steps + (0 if ROWS[name].one_stage else first) == 1000


def test_rows_have_equal_processor_time_and_are_measured_once(tmp_path, monkeypatch):
    seconds = {"stage1": 0.5, "istft": 2.0, "istft_gan": 4.0, "one_stage": 3.0}
    calls = []

    def measure(config):
        calls.append(Path(config.out).name)
        return seconds[calls[-1]]

    monkeypatch.setattr(pace, "seconds_per_step", measure)
    words = ["--rows", "istft", "istft_gan", "--minutes-per-row", "10", "--out", str(tmp_path)]
    found = trainings(*words)
    assert {name: config.steps for name, config in found.items()} == {
        "stage1": 240, "istft": 240, "istft_gan": 120,
    }  # fmt: skip
    more = trainings(*words, "--rows", "istft", "one_stage")
    assert more["one_stage"].steps == 200 and more["istft"] == found["istft"]
    assert calls == ["stage1", "istft", "istft_gan", "one_stage"]


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    folder = tmp_path_factory.mktemp("audio")
    rng = np.random.default_rng(0)
    for name, seconds in (("train", 12), ("held", 1)):
        (folder / name).mkdir()
        wav = 0.1 * rng.standard_normal(int(24_000 * seconds))
        soundfile.write(folder / name / "a.wav", wav, 24_000)
    held = f"speech={folder}/held"
    return ["--train", f"speech={folder}/train", "--valid", held, "--test", held]


def test_rows_are_trained_and_end_in_one_table(sources, tmp_path):
    names = ["reference", "one_stage", "istft_gan"]
    words = [*sources, "--size", "tiny", "--steps", "10", "--rows", *names, "--out", str(tmp_path)]
    for stage in ("stage1", *names):
        row = ROWS[stage].model if stage in ROWS else {}
        model = {**SMALLER, "codebook_size": 256, "unpatchify": "harmonic", **row}
        words += [f"--{stage}.model", json.dumps(model), f"--{stage}.tracker", "none"]
        changes = {**SHORT, "steps": "4", "validate-every": "0"}
        words += [part for name, value in changes.items() for part in (f"--{stage}.{name}", value)]
    _, run = cli.parse("codec_ablation", words)
    for stage in run.stages:
        if stage.config is not None:
            stage.config_file(run.out).write_text(json.dumps(stage.config.to_dict()))
        if stage.name == "table":
            rows = collect(tmp_path, names)
        else:
            assert main(stage.argv(run.out)[1:]) == 0, stage.name
    assert [row.steps for row in rows] == [8, 4, 8]
    assert all(row.scores["mel"].mean > 0 and row.seconds_per_step > 0 for row in rows)
    assert len(rows[0].usage) == 3 and rows[0].clear == {}
    text = to_markdown(rows)
    assert [line.split("|")[1].strip() for line in text.splitlines() if line[:1] == "|"] == [
        "row", "---", *names,
    ]  # fmt: skip
    assert "WER" not in text and "nats" not in text


def test_word_errors_and_predictability_enter_the_table_where_they_were_measured():
    score = Interval(0.8, 0.7, 0.9, 4)
    one = AblationRow("reference", "all", {"stoi": score}, {}, None, (), (0.5,), (9.0,), 10, 0.5, 1)
    two = replace(one, name="istft", clear={"stoi": True}, wer=score, nats=(1.5, 2.25))
    head, _, *lines = [line for line in to_markdown([one, two]).splitlines() if line[:1] == "|"]
    columns = [cell.strip() for cell in head.split("|")[1:-1]]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
    assert columns[:4] == ["row", "STOI ↑", "WER, % ↓", "nats per code ↓"]
    assert rows[0][:4] == ["reference", "0.800 [0.700, 0.900]", "", ""]
    assert rows[1][:4] == [
        "istft", "**0.800 [0.700, 0.900]**", "80.0 [70.0, 90.0]", "1.50 / 2.25",
    ]  # fmt: skip


def test_files_of_words_and_codes_are_read(tmp_path):
    score = {"mean": 0.5, "low": 0.4, "high": 0.6, "n": 3}
    words = [{"coder": "the recordings", "lost": None, "wer": {**score, "mean": 0.1}},
             {"coder": "almtok", "lost": score, "wer": score}]  # fmt: skip
    (tmp_path / "words.json").write_text(json.dumps({"rows": words}))
    (tmp_path / "table.json").write_text(json.dumps({"rows": [{"nats": [1.0, 2.0]}]}))
    assert table._word_errors(tmp_path / "words.json") == Interval(0.5, 0.4, 0.6, 3)
    assert table._nats(tmp_path / "table.json") == (1.0, 2.0)
    assert table._word_errors(tmp_path / "none") is None and table._nats(tmp_path / "none") == ()


def test_the_cost_of_a_step_is_measured(sources):
    names = [part for part in sources if not part.startswith("--")]
    options = recipe.Options(
        size="tiny", out="runs/none", train=names[:1], valid=names[1:2], test=names[1:2]
    )
    for name in ("istft_gan", "one_stage"):
        config = recipe.row_training(options, name, ROWS[name], 100)
        changes = {**config.to_dict(), "batch_size": 2, "segment_seconds": 0.8, "device": "cpu"}
        assert 0 < pace.seconds_per_step(type(config).from_dict(changes)) < 600
