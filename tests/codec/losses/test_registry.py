"""The registry of losses: every entry can be built, computed and found in the configuration."""

import dataclasses
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from almtok.codec.config import ALMTokenizerConfig
from almtok.codec.losses import LOSSES
from almtok.codec.losses.base import ForwardPass, LossSetup, build_losses
from almtok.codec.losses.registry import LossSpec
from almtok.codec.phonemes import PhonemeClassifier, PhonemeClassifierConfig
from almtok.codec.train.config import CodecTrainConfig, stage2
from almtok.codec.whisper import WhisperFeatures

from ..tiny_whisper import save_whisper

SECOND = stage2(
    init_from="x", phoneme_classifier="y", teacher_speech="whisper", masked={"num_heads": 2}
)


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> WhisperFeatures:
    folder = save_whisper(tmp_path_factory.mktemp("whisper"))
    return WhisperFeatures.from_pretrained(folder, sample_rate=24_000)


def setup(teacher: WhisperFeatures) -> LossSetup:
    model = ALMTokenizerConfig.preset("tiny", unpatchify="harmonic")
    phoneme_classifier = PhonemeClassifier(PhonemeClassifierConfig(width=16, num_bands=16))
    return LossSetup(SECOND, model, phoneme_classifier, teacher)


def test_the_registry_loads_without_torch() -> None:
    code = "import almtok.codec.losses, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_every_loss_has_a_weight_with_its_default_and_its_help() -> None:
    fields = {field.name: field for field in dataclasses.fields(CodecTrainConfig)}
    assert len({spec.name for spec in LOSSES}) == len(LOSSES)
    for spec in LOSSES:
        assert fields[f"weight_{spec.name}"].default == spec.weight
        assert fields[f"weight_{spec.name}"].metadata["help"] == spec.help
    assert {name for name in fields if name.startswith("weight_")} == {
        f"weight_{spec.name}" for spec in LOSSES
    } | {"weight_decay"}


def test_every_loss_is_computed_where_its_tensors_exist_and_skipped_elsewhere(teacher) -> None:
    torch.manual_seed(0)
    made = setup(teacher)
    losses = build_losses(LOSSES, made)
    assert list(losses) == [spec.name for spec in LOSSES]
    # None of them takes the weights of a frozen model as its own.
    assert not any("layers.0.1" in key for key in losses["recognition"].state_dict())
    assert not losses["speech_features"].state_dict()
    assert losses["distillation"].state_dict().keys() == {"say.weight", "say.bias"}
    model, wav = made.model, 0.1 * torch.randn(2, 1, 12 * 320)
    bare = ForwardPass(target=wav, seeds=torch.arange(2), frames_per_query=3)
    inner = [spec.name for spec in LOSSES if not spec.waveform or spec.adversarial]
    assert [losses[name].compute(bare) for name in inner] == [None] * len(inner)
    from almtok.codec.losses.discriminators import MelDiscriminators, MelDiscriminatorsConfig

    judges = MelDiscriminators(MelDiscriminatorsConfig(hop_lengths=(256,), channel_divisor=64))
    width = model.hidden_size
    assert made.phoneme_classifier is not None
    full = dataclasses.replace(
        bare, output=wav.flip(0), frames=torch.randn(2, 12, width),
        queries=torch.randn(2, 4, width), layers=torch.randn(2, 4, 3, width),
        commitment=torch.tensor(1.0), decoded=torch.randn(2, 12, width),
        pitch=torch.randn(2, 12, model.num_pitches),
        phonemes=made.phoneme_classifier.target_log_posteriors(wav),
        speech=torch.arange(2), features=teacher.features(wav), encode_frames=lambda frames: frames,
        real=judges(wav), fake=judges(wav.flip(0)),
    )  # fmt: skip
    for name, loss in losses.items():
        value = loss.compute(full)
        assert value is not None and value.shape == () and torch.isfinite(value), name


def test_the_guides_loss_is_computed() -> None:
    page = Path(__file__).parents[3].joinpath("docs", "extending.md").read_text(encoding="utf-8")
    module, entry = re.findall(r"^```py\n(.*?)^```", page, re.M | re.S)[:2]
    names = {"__name__": "almtok.codec.losses.energy", "__package__": "almtok.codec.losses"}
    exec(compile(module, "extending.md", "exec"), names)
    spec = eval(entry, {"LossSpec": LossSpec})
    assert spec.name == "energy" and spec.waveform and spec.stages == ("1", "2", "adapt")
    setup = LossSetup(SECOND, ALMTokenizerConfig.preset("tiny"))
    loss = names[spec.implementation.partition(":")[2]].from_setup(setup)
    wav = torch.randn(2, 1, 12 * 320, generator=torch.Generator().manual_seed(0))
    forward = ForwardPass(target=wav, seeds=torch.arange(2), frames_per_query=3, output=0.1 * wav)
    assert float(loss.compute(forward)) == pytest.approx(20, rel=1e-4)  # dB


def test_a_codec_without_the_vocoder_has_no_pitch_to_train(teacher) -> None:
    mirror = dataclasses.replace(setup(teacher), model=ALMTokenizerConfig.preset("tiny"))
    assert "pitch" not in build_losses(LOSSES, mirror)


@pytest.mark.parametrize("spec", [spec for spec in LOSSES if spec.needs_teacher])
def test_a_loss_on_features_asks_for_the_teacher(spec) -> None:
    weight = {f"weight_{spec.name}": 1.0}
    with pytest.raises(ValueError, match=f"weight_{spec.name} needs teacher_speech"):
        stage2(init_from="x", **weight)
    with pytest.raises(ValueError, match="teacher_speech of a training must be whisper, got 'wav"):
        stage2(init_from="x", teacher_speech="wavlm", **weight)


@pytest.mark.parametrize("spec", [spec for spec in LOSSES if spec.needs_phonemes])
def test_a_loss_on_phonemes_asks_for_the_classifier(spec) -> None:
    with pytest.raises(ValueError, match=f"weight_{spec.name} needs phoneme_classifier"):
        stage2(init_from="x", **{f"weight_{spec.name}": 1.0})
