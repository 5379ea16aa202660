"""wav2vec 2.0, HuBERT and WavLM as teachers, on tiny random checkpoints."""

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    HubertConfig,
    HubertModel,
    Wav2Vec2Config,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2Model,
    WavLMConfig,
    WavLMModel,
)

from almtok.codec.priors import PriorConfig, make_teacher
from almtok.codec.priors.pretrained import BEATsTeacher, TransformersTeacher

FAMILIES = {
    "wav2vec2": (Wav2Vec2Config, Wav2Vec2Model),
    "hubert": (HubertConfig, HubertModel),
    "wavlm": (WavLMConfig, WavLMModel),
}
SIZES = {
    "hidden_size": 16,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "conv_dim": (8, 8, 8),
    "conv_kernel": (10, 3, 3),
    "conv_stride": (5, 4, 4),
    "num_conv_pos_embeddings": 8,
    "num_conv_pos_embedding_groups": 2,
}


@pytest.fixture
def checkpoint(tmp_path):
    def make(kind, *, do_normalize=True, extractor=True, **overrides):
        config, model = FAMILIES[kind]
        folder = tmp_path / f"{kind}-{len(list(tmp_path.iterdir()))}"
        torch.manual_seed(0)
        model(config(**(SIZES | overrides))).save_pretrained(folder)
        if extractor:
            Wav2Vec2FeatureExtractor(do_normalize=do_normalize).save_pretrained(folder)
        return str(folder)

    return make


def noise(samples, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(samples, generator=generator) * 0.1 + 0.02


@pytest.mark.parametrize("kind", FAMILIES)
@pytest.mark.parametrize("norm", ["group", "layer"])
def test_alone_equals_batched(checkpoint, kind, norm):
    path = checkpoint(kind, feat_extract_norm=norm, do_stable_layer_norm=norm == "layer")
    teacher = TransformersTeacher(kind=kind, checkpoint=path, layers=(2, 3))
    wavs = [noise(4000), noise(1500, 1), noise(4000, 2), noise(teacher.min_samples, 3)]
    together = teacher.features_batch(wavs)
    assert len(together[-1]) == 1
    for wav, features in zip(wavs, together, strict=True):
        alone = teacher.features(wav)
        assert features.shape == alone.shape == (alone.shape[0], 16)
        assert abs(len(alone) - len(wav) / 16000 * teacher.frame_rate) <= 1
        assert (features - alone).abs().max() < 1e-5


def test_layers_are_counted_from_one_and_averaged(checkpoint):
    teacher = TransformersTeacher(
        kind="wav2vec2", checkpoint=checkpoint("wav2vec2"), layers=(1, 3), normalize=False
    )
    outputs = []
    for layer in teacher.model.encoder.layers:
        layer.register_forward_hook(
            lambda module, inputs, out: outputs.append(out[0] if isinstance(out, tuple) else out)
        )
    features = teacher.features(noise(2000))
    assert len(outputs) == 3
    mean = (outputs[0] + outputs[2]) / 2
    assert torch.allclose(features, mean.reshape(features.shape), atol=1e-6)


@pytest.mark.parametrize("do_normalize", [True, False])
def test_normalised_as_the_checkpoint_says(checkpoint, do_normalize):
    path = checkpoint("wav2vec2", do_normalize=do_normalize)
    teacher = TransformersTeacher(kind="wav2vec2", checkpoint=path, layers=(3,))
    assert teacher.normalize is do_normalize
    wav = noise(2000)
    inputs = Wav2Vec2FeatureExtractor.from_pretrained(path)(
        wav.numpy(), sampling_rate=16000, return_tensors="pt"
    ).input_values
    with torch.no_grad():
        wanted = teacher.model(inputs, output_hidden_states=True).hidden_states[3][0]
    assert torch.allclose(teacher.features(wav), wanted, atol=1e-5)


def test_without_a_preprocessor_file_it_must_be_said(checkpoint):
    path = checkpoint("hubert", extractor=False)
    with pytest.raises(ValueError, match="preprocessor_config.json"):
        TransformersTeacher(kind="hubert", checkpoint=path, layers=(1,))
    teacher = TransformersTeacher(kind="hubert", checkpoint=path, layers=(1,), normalize=True)
    assert teacher.sample_rate == 16000


def test_stride_and_first_frame_of_the_published_stack(checkpoint):
    path = checkpoint(
        "wav2vec2",
        conv_dim=(8,) * 7,
        conv_kernel=(10, 3, 3, 3, 3, 2, 2),
        conv_stride=(5, 2, 2, 2, 2, 2, 2),
    )
    teacher = TransformersTeacher(kind="wav2vec2", checkpoint=path, layers=(1,))
    assert (teacher.stride, teacher.min_samples, teacher.frame_rate) == (320, 400, 50.0)


def test_a_checkpoint_that_lacks_weights_is_refused(checkpoint):
    path = checkpoint("wavlm")
    weights = load_file(f"{path}/model.safetensors")
    del weights["encoder.layers.1.layer_norm.weight"]
    save_file(weights, f"{path}/model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match="lacks weights of wavlm: encoder.layers.1.layer_norm"):
        TransformersTeacher(kind="wavlm", checkpoint=path, layers=(1,))


def test_wrong_family_layer_and_length_are_named(checkpoint):
    path = checkpoint("hubert")
    with pytest.raises(ValueError, match="must be 'wavlm', got 'hubert'"):
        TransformersTeacher(kind="wavlm", checkpoint=path)
    with pytest.raises(ValueError, match=r"must lie in 0..3, got \[6, 7, 8, 9\]"):
        TransformersTeacher(kind="hubert", checkpoint=path)
    teacher = TransformersTeacher(kind="hubert", checkpoint=path, layers=(1,))
    with pytest.raises(ValueError, match="at least 60 samples at 16000 Hz, got 59"):
        teacher.features(torch.zeros(59))
    with pytest.raises(ValueError, match=r"must be \[S\]"):
        teacher.features(torch.zeros(1, 400))


def test_beats_teacher(tmp_path, small, small_config, small_weights):
    path = tmp_path / "BEATs_iter3.pt"
    torch.save({"cfg": small_config, "model": small_weights}, path)
    teacher = BEATsTeacher(path)
    assert (teacher.dim, teacher.frame_rate, teacher.name) == (
        64,
        6.25,
        "beats:BEATs_iter3.pt@last",
    )
    features = teacher.features_batch(list(small["in/waveform"]))
    assert (torch.stack(features) - small["ref_nomask/time_mean"]).abs().max() <= 2e-5
    with pytest.raises(ValueError, match=r"must lie in 0..3, got \[4\]"):
        BEATsTeacher(path, layers=(4,))


def test_made_by_name(checkpoint, tmp_path, small_config, small_weights):
    path = tmp_path / "BEATs_iter3.pt"
    torch.save({"cfg": small_config, "model": small_weights}, path)
    config = PriorConfig(
        teacher_speech=f"wavlm:{checkpoint('wavlm')}", teacher_sound=f"beats:{path}", layers=(1, 2)
    )
    assert make_teacher("speech", config).dim == 16
    assert make_teacher("sound", config).dim == 64
    spectral = PriorConfig(teacher_sound="spectral:speech")
    assert make_teacher("speech", spectral).name == "spectral:speech"
    assert make_teacher("sound", spectral).name == "spectral:speech"
    assert make_teacher("sound", PriorConfig()).name == "spectral:sound"
