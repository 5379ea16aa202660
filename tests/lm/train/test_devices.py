"""Training steps of the language model on a pretended device: no part of one assumes the CPU."""

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator

from almtok.core.training.checkpoint import newest_checkpoint, read_checkpoint
from almtok.lm.lora import LoraSettings, add_lora
from almtok.lm.train import LMTrainingConfig
from almtok.lm.train.distillation import DistillationTeacher
from almtok.lm.train.run import train_lm
from almtok.lm.train.trainer import AudioLMTrainer

from ...pretend_device import pretend_device
from ..toy import EOS, PATTERNS, toy_lm
from .test_trainer import Given, examples, made


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> Iterator[torch.device]:
    with pretend_device() as made:
        monkeypatch.setattr(Accelerator, "device", property(lambda _: made))
        yield made


def listening(pattern: str) -> Any:
    lm = toy_lm(pattern=pattern, ctc_weight=0.5)
    lm.config.backbone.pad_token_id, lm.config.backbone.eos_token_id = 0, EOS
    return lm


def train(lm: Any, out: Path, start: Any = None, teacher: Any = None, **changes: Any) -> Any:
    config = LMTrainingConfig(
        **{"steps": 2, **changes}, out=str(out), lr=1e-2, warmup_steps=0, device="cpu",
        precision="fp32", progress=False, tracker="none", log_every=1, checkpoint_every=0,
        accumulate=2,
    )  # fmt: skip
    given = [made(examples(4), lm), made(examples(3), lm)]
    trainer = AudioLMTrainer(lm, config, Given(given), start=start, teacher=teacher)
    trainer.train()
    return trainer


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("changes", [{}, {"muon_lr": 1e-2}, {"checkpointing": True}])
def test_every_pattern_learns_what_it_learns_on_the_cpu(device, pattern, changes, tmp_path):
    lm = listening(pattern)
    there = train(lm, tmp_path / "there", **changes)
    assert {p.device for p in lm.parameters()} == {device}
    assert there.skipped == 0 and there.reading.losses.keys() >= {"text", "audio_1", "ctc"}


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_teacher_and_an_adapter(device, pattern, tmp_path):
    lm = listening(pattern)
    teacher = DistillationTeacher(copy.deepcopy(lm).to(device), ["tts", "asr"])
    add_lora(lm, LoraSettings(rank=2))
    trainer = train(lm, tmp_path / "run", teacher=teacher)
    assert trainer.skipped == 0 and trainer.reading.targets > 0


def test_a_checkpoint_goes_on_there(device, tmp_path):
    ends = []
    for steps in ((4,), (2, 4)):
        lm, start = listening("depth"), None
        for number in steps:
            run = tmp_path / f"run{len(steps)}"
            trainer = train(lm, run, start=start, steps=number, schedule="constant")
            trainer.save()
            start = read_checkpoint(newest_checkpoint(run))
            lm = listening("depth")
        ends.append({name: value.cpu() for name, value in trainer.model.state_dict().items()})
    for name, value in ends[0].items():
        assert torch.equal(value, ends[1][name]), name


@pytest.mark.parametrize("changes", [{}, {"lora_rank": 2, "merge": True}])
def test_whole_runs(device, toy_config, monkeypatch, changes):
    """Loading, validation with samples, logs, checkpoints, export; and the same of an adapter."""
    run = train_lm(toy_config(validate_every=2, samples=1))
    assert run.finished
    if changes:
        out = str(run.model.parent / "tuned")
        again = toy_config(init_from=str(run.model), model={}, out=out, **changes)
        assert train_lm(again).finished
