"""Training with a teacher of speech: it is frozen, is not saved, and its folder is not needed."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from almtok.codec.model import ALMTokenizer
from almtok.codec.train import train_codec
from almtok.codec.train.config import CodecTrainConfig
from almtok.codec.train.step import FORWARD, draw_step, micro_step
from almtok.codec.train.update import optimizer_step
from almtok.core.data import SegmentBatch
from almtok.core.training.checkpoint import newest_checkpoint, read_checkpoint
from almtok.core.training.loop import Requests
from almtok.core.training.optimizer import gradient_norm

from ..tiny_whisper import save_whisper
from .toy import build_state

Make = Callable[..., CodecTrainConfig]
Batch = Callable[..., SegmentBatch]
INNER = {"weight_distillation": 1.0, "weight_first_distillation": 1.0}


@pytest.fixture
def whisper(tmp_path: Path) -> Path:
    return Path(save_whisper(tmp_path / "whisper"))


@pytest.mark.parametrize("stage", ["2", "adapt"])
@pytest.mark.parametrize("balancer", [True, False])
def test_the_decoder_is_taught_and_the_teacher_is_not(
    toy_config: Make, toy_batch: Batch, whisper: Path, stage: str, balancer: bool
) -> None:
    off = {"weight_time": 0.0, "weight_mel": 0.0, "weight_masked": 0.0, "weight_commitment": 0.0,
           "weight_autoregressive": 0.0, "adversarial_start": -1}  # fmt: skip
    if stage == "adapt":
        del off["weight_autoregressive"], off["weight_commitment"]
    config = toy_config(
        stage, init_from="x", teacher_speech=f"whisper:{whisper}", teacher_layers=[1, 3],
        weight_speech_features=1.0, balancer=balancer, **off,
    )  # fmt: skip
    state, batch = build_state(config), toy_batch()
    assert state.teacher is not None
    before = {name: weight.clone() for name, weight in state.teacher.state_dict().items()}
    trained = {id(weight) for group in state.generator_optimizer.param_groups
               for weight in group["params"]}  # fmt: skip
    assert not trained & {id(weight) for weight in state.teacher.parameters()}
    micro_step(state, batch.wav, batch.seeds, 0, draw_step(config, 0, (2, 5)), batch.domains)
    assert gradient_norm(state.model.decoder.parameters()) > 0
    assert (gradient_norm(p for p in state.model.encoder.parameters()) > 0) == (stage == "2")
    assert all(weight.grad is None for weight in state.teacher.parameters())
    optimizer_step(state, [batch], Requests())
    after = state.teacher.state_dict()
    assert all(torch.equal(weight, after[name]) for name, weight in before.items())
    assert not any(module.training for module in state.teacher.modules())
    saved = {name for group in state.tensors().values() for name in group}
    assert not any("embed_positions" in name or "filters" in name for name in saved)


def test_sounds_and_music_are_not_asked(toy_config: Make, toy_batch: Batch, whisper: Path) -> None:
    config = toy_config("2", teacher_speech=f"whisper:{whisper}", **INNER)
    state, batch = build_state(config), toy_batch(frames=32)
    draw = replace(draw_step(config, 0, (2, 5)), frames_per_query=4)
    domains = ("sound", "speech", "music", "audio")
    forward, _ = FORWARD["2"](state, batch.wav, batch.seeds, draw, domains)
    assert forward.speech is not None and forward.features is not None
    assert forward.speech.tolist() == [1, 3]  # the domain of the last is not known
    forward, _ = FORWARD["2"](state, batch.wav, batch.seeds, draw)
    assert forward.speech is not None and forward.speech.tolist() == [0, 1, 2, 3]
    none = replace(batch, domains=("music",) * 4)
    assert optimizer_step(state, [none], Requests()).problem is None


def test_a_codec_opens_and_is_adapted_without_its_teacher(
    toy_config: Make, tmp_path: Path, whisper: Path
) -> None:
    given = {"teacher_speech": f"whisper:{whisper}", "weight_speech_features": 1.0, **INNER}
    two = train_codec(toy_config("2", steps=2, out=str(tmp_path / "two"), **given))
    checkpoint = newest_checkpoint(tmp_path / "two")
    assert checkpoint is not None
    heads = {name.split(".")[0] for name in read_checkpoint(checkpoint).tensors["objectives"]}
    assert {"distillation", "first_distillation"} <= heads and "speech_features" not in heads
    shutil.rmtree(whisper)
    codec = ALMTokenizer.from_pretrained(str(two.model)).eval()
    plain = ALMTokenizer(codec.config)
    assert codec.num_parameters() == plain.num_parameters()
    codes = codec.encode(0.1 * torch.randn(1, 1, 9600)).audio_codes
    assert codec.decode(codes).audio_values.shape == (1, 1, 9600)
    new = train_codec(
        toy_config("adapt", steps=1, out=str(tmp_path / "new"), init_from=str(tmp_path / "two"))
    )
    assert new.finished
    with pytest.raises(OSError, match="whisper") as error:
        train_codec(toy_config("2", steps=3, out=str(tmp_path / "three"), **given))
    assert "\n" not in str(error.value)


def test_crops_longer_than_the_teachers_positions_are_refused(
    toy_config: Make, whisper: Path
) -> None:
    given = {"teacher_speech": f"whisper:{whisper}", "weight_speech_features": 1.0}
    with pytest.raises(ValueError, match="segment_seconds must be at most 3.5 .* got 4"):
        build_state(toy_config("2", segment_seconds=4.0, **given))
