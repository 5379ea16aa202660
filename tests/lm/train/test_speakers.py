"""Speakers of the training data become voices of the model."""

from pathlib import Path

import pytest
import torch

from almtok.lm.model import AudioLM
from almtok.lm.train.corpus import find_tasks, named_speakers
from almtok.lm.train.run import train_lm
from almtok.lm.vocabulary import Vocabulary

from .conftest import _maker


@pytest.fixture(scope="module")
def spoken(tmp_path_factory):
    """Rows of three speakers and of nobody; ann has most of them."""
    rows = [
        dict(frames=4, text=f"row {n % 3}", speaker=("ann", "joe", "ann", "", "eve", "ann")[n % 6])
        for n in range(18)
    ]
    return str(_maker().shards(tmp_path_factory.mktemp("spoken"), rows))


def test_all_speakers_by_frequency_or_those_that_are_named(toy_config, spoken):
    tasks = find_tasks(toy_config(data=[spoken]))
    assert named_speakers(toy_config(data=[spoken], speakers=["all"]), tasks) == [
        "ann", "eve", "joe",
    ]  # fmt: skip
    assert named_speakers(toy_config(data=[spoken], speakers=["joe", "ann"]), tasks) == [
        "joe", "ann",
    ]  # fmt: skip
    assert named_speakers(toy_config(data=[spoken]), tasks) == []


def test_a_run_learns_its_voices_and_a_further_run_adds_some(toy_config, spoken, tmp_path):
    first = toy_config(data=[spoken], speakers=["joe", "eve"], out=str(tmp_path / "a"))
    before = AudioLM.from_pretrained(train_lm(first).model)
    assert before.config.voices == ["joe", "eve"]
    second = toy_config(
        data=[spoken], speakers=["ann", "joe"], init_from=str(tmp_path / "a"), model={},
        distill_tasks=["asr"], out=str(tmp_path / "b"),
    )  # fmt: skip
    after = AudioLM.from_pretrained(train_lm(second).model)
    assert after.config.voices == ["joe", "eve", "ann"]
    # A run without the option keeps the voices of its model.
    third = toy_config(data=[spoken], init_from=str(tmp_path / "b"), model={}, steps=1,
                       out=str(tmp_path / "c"))  # fmt: skip
    assert AudioLM.from_pretrained(train_lm(third).model).config.voices == ["joe", "eve", "ann"]


def test_only_rows_of_a_voice_train_its_token(toy_config, spoken, tmp_path):
    steps = dict(condition_dropout=0.0, weight_decay=0.0, tasks=["tts"], steps=6)
    config = toy_config(data=[spoken], speakers=["ann", "joe"], out=str(tmp_path / "a"), **steps)
    lm = AudioLM.from_pretrained(train_lm(config).model)
    fresh = toy_config(
        data=[spoken], speakers=["ann", "joe"], out=str(tmp_path / "b"), **{**steps, "lr": 1e-12}
    )
    start = AudioLM.from_pretrained(train_lm(fresh).model)
    vocabulary = Vocabulary(lm.config)
    change = lm.embedding.controls.weight - start.embedding.controls.weight
    moved = change.detach().abs().amax(dim=1)
    places = [vocabulary.voice(name) - vocabulary.num_text for name in ("ann", "joe")]
    assert bool((moved[places] > 1e-4).all())
    unused = vocabulary.task("asr") - vocabulary.num_text
    assert float(moved[unused]) < 1e-6


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (dict(speakers=["bob"]), r"rows of TTS \(ann, eve, joe\), got 'bob'"),
        (dict(speakers=["ann"], tasks=["asr"]), "a task that takes their names, such as tts"),
        (dict(speakers=["all"], stream=True), "name the speakers"),
        (dict(speakers=["ann"], lora_rank=2, init_from="x"), "not with LoRA"),
    ],
)
def test_speakers_that_cannot_be_learned(toy_config, spoken, changes, words):
    with pytest.raises(ValueError, match=words):
        train_lm(toy_config(data=[spoken], **changes))


def test_a_stream_learns_named_speakers(toy_config, spoken, tmp_path):
    config = toy_config(data=[spoken], speakers=["ann"], stream=True, steps=2)
    lm = AudioLM.from_pretrained(train_lm(config).model)
    assert lm.config.voices == ["ann"] and torch.isfinite(lm.embedding.controls.weight).all()
    assert Path(config.out, "model", "README.md").read_text().count("ann (default)") == 1
