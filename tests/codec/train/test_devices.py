"""Training steps of the codec on a pretended device: nothing of a step assumes the CPU."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator

from almtok.codec.initialization import initialize_coders, initialize_patchify, initialize_quantizer
from almtok.codec.model import ALMTokenizer
from almtok.codec.phonemes import PhonemeClassifier, PhonemeClassifierConfig
from almtok.codec.train import train_codec
from almtok.codec.train.config import CodecTrainConfig
from almtok.codec.train.state import TrainState, build_state
from almtok.codec.train.update import optimizer_step
from almtok.core.training.checkpoint import read_checkpoint, write_checkpoint
from almtok.core.training.loop import Requests

from ...pretend_device import pretend_device
from .conftest import HOP, MODEL

EVERY_LOSS = {
    f"weight_{name}": 0.1
    for name in ("recognition", "masked", "autoregressive", "commitment", "spectrum",
                 "phones", "first_phones", "latent", "pitch")
}  # fmt: skip
HARMONIC = {**MODEL, "unpatchify": "harmonic"}
ISTFT = {**MODEL, "unpatchify": "istft"}
CASES = [
    ("1", {}),
    ("1", {"balancer": False, "adversarial_kind": "least_squares"}),
    ("1", {"precision": "bf16-all"}),
    ("2", EVERY_LOSS),
    ("2", {**EVERY_LOSS, "model": HARMONIC, "precision": "bf16"}),
    ("2", {"muon_lr": 1e-3}),
    ("2", {"muon_lr": 1e-3, "model": {**MODEL, "pooling": "mean"}}),
    ("2", {"quantize_probability": 0.5, "balancer": False}),
    ("adapt", {"weight_latent": 0.1, "weight_recognition": 0.1}),
    ("adapt", {"model": HARMONIC}),
    ("2", {"model": ISTFT, "precision": "bf16-all"}),
]


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> Iterator[torch.device]:
    with pretend_device() as made:
        monkeypatch.setattr(Accelerator, "device", property(lambda _: made))
        yield made


@pytest.fixture
def phoneme_classifier(tmp_path: Path) -> str:
    file = tmp_path / "phoneme_classifier.safetensors"
    PhonemeClassifier(PhonemeClassifierConfig(width=16, num_bands=16)).save(file)
    return str(file)


def started(config: CodecTrainConfig) -> TrainState:
    """A run about to take its first step, everything placed by noise."""
    state = build_state(config)
    wavs = [0.1 * torch.randn(8, 1, 48 * HOP).to(state.device)]
    state.model.eval()
    if config.stage == "1":
        initialize_patchify(state.model, wavs)
    else:
        initialize_coders(state.model, wavs)
        initialize_quantizer(state.model, wavs)
    state.train_mode()
    return state


@pytest.mark.parametrize(("stage", "changes"), CASES)
def test_every_loss_and_optimiser_takes_steps(
    stage, changes, toy_config, toy_batch, phoneme_classifier, device
):
    changes = {
        "phoneme_classifier": phoneme_classifier,
        "adversarial_start": 1,
        "accumulate": 2,
        **changes,
    }
    start = {"init_from": "x"} if stage == "adapt" else {}
    config = toy_config(stage, **start, **changes)
    state = started(config)
    assert {p.device for p in state.generator_parameters.values()} == {device}
    batches = [toy_batch(2, 1), toy_batch(2, 2)]
    for _ in range(3):
        report = optimizer_step(state, batches, Requests())
        assert report.problem is None
    assert all(loss.device == device for loss in report.losses.values())
    asked = set(config.direct_weights) | set(config.balanced_weights)
    only_by_rule = set() if config.model.get("unpatchify") == "harmonic" else {"pitch"}
    assert asked - only_by_rule <= set(report.losses)


def test_a_checkpoint_goes_on_there(toy_config, toy_batch, device, tmp_path):
    config = toy_config("2", muon_lr=1e-3)
    state = started(config)
    optimizer_step(state, [toy_batch()], Requests())
    write_checkpoint(tmp_path / "run", 1, state.tensors(), state.counters(), 2)
    again = build_state(config)
    again.load(read_checkpoint(tmp_path / "run/checkpoints/step-00000001"))
    reports = [optimizer_step(one, [toy_batch(4, 1)], Requests()) for one in (state, again)]
    assert reports[0].norms == reports[1].norms
    with again.averaged() as model, torch.no_grad():
        assert model(toy_batch().wav.to(device)).audio_values.device == device


@pytest.mark.parametrize("stage", ["1", "2"])
def test_whole_runs(stage, toy_config, toy_audio, device):
    """Loading, starts, validation, logs, checkpoints, export."""
    given = {"quantize_start": 1} if stage == "2" else {}
    config = toy_config(
        stage,
        steps=3,
        validate_every=2,
        validation_data=[str(toy_audio)],
        tracker="tensorboard",
        **given,
    )
    result = train_codec(config)
    assert result.finished
    codec = ALMTokenizer.from_pretrained(str(result.model))
    assert codec.device.type == "cpu"
