"""Coders by name: Hugging Face codecs from folders, classics through their programs, ours."""

import shutil

import numpy as np
import pytest
import torch

from almtok.codec.evaluation import codecs, peers
from almtok.codec.evaluation.codecs import CodecUnavailable, fit_length
from almtok.core.metrics.audio import stoi

from .conftest import make_voice


def tiny_configs():
    from transformers import (
        DacConfig,
        EncodecConfig,
        HiggsAudioV2TokenizerConfig,
        HubertConfig,
        MimiConfig,
        NeuCodecConfig,
        Wav2Vec2BertConfig,
        WavTokenizerConfig,
        Xcodec2Config,
        XcodecConfig,
    )

    hubert = HubertConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
        conv_dim=(8,) * 7, num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=2,
    )  # fmt: skip
    acoustic = DacConfig(
        encoder_hidden_size=4, decoder_hidden_size=32, hidden_size=8, n_codebooks=2,
        downsampling_ratios=[8, 5, 4, 2], upsampling_ratios=[8, 5, 4, 2],
    )  # fmt: skip
    bert = Wav2Vec2BertConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
        feature_projection_input_dim=160, conv_depthwise_kernel_size=3,
    )  # fmt: skip
    single = {
        "hidden_size": 32, "intermediate_size": 16, "num_hidden_layers": 1,
        "num_attention_heads": 2, "num_key_value_heads": 2, "head_dim": 16,
        "encoder_hidden_size": 4, "quantization_dim": 48, "quantization_levels": [4] * 4,
        "semantic_model_config": bert,
    }  # fmt: skip
    return {
        "encodec": EncodecConfig(
            num_filters=4, hidden_size=16, codebook_size=32, codebook_dim=16, num_lstm_layers=1,
            target_bandwidths=[0.375, 0.75, 1.5],
        ),
        "dac": DacConfig(
            encoder_hidden_size=8, downsampling_ratios=[2, 4, 5, 8], decoder_hidden_size=64,
            n_codebooks=4, codebook_size=32, codebook_dim=4, sampling_rate=24_000,
        ),
        "mimi": MimiConfig(
            hidden_size=32, num_filters=4, codebook_size=32, codebook_dim=16,
            vector_quantization_hidden_dimension=16, num_quantizers=4, num_hidden_layers=1,
            intermediate_size=32, num_attention_heads=2, num_key_value_heads=2, head_dim=16,
            upsample_groups=32,
        ),
        "xcodec": XcodecConfig(
            target_bandwidths=[0.5, 1], codebook_size=1024, acoustic_model_config=acoustic,
            semantic_model_config=hubert,
        ),
        "higgs": HiggsAudioV2TokenizerConfig(
            target_bandwidths=[0.25, 0.5], semantic_model_config=hubert, codebook_dim=24,
            acoustic_model_config=DacConfig(
                encoder_hidden_size=2, decoder_hidden_size=32, hidden_size=8,
                downsampling_ratios=[8, 5, 4, 2, 3], upsampling_ratios=[8, 5, 4, 2, 3],
            ),
        ),
        "wavtokenizer": WavTokenizerConfig(
            num_filters=2, hidden_size=32, codebook_dim=32, codebook_size=64,
            decoder_hidden_size=32, decoder_intermediate_size=32, decoder_num_layers=1,
            num_lstm_layers=1,
        ),
        "xcodec2": Xcodec2Config(**single),
        "neucodec": NeuCodecConfig(**single),
    }  # fmt: skip


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    from transformers import AutoModel, NeuCodecFeatureExtractor, Xcodec2FeatureExtractor

    torch.manual_seed(0)
    root = tmp_path_factory.mktemp("codecs")
    for name, config in tiny_configs().items():
        AutoModel.from_config(config).save_pretrained(root / name)
    Xcodec2FeatureExtractor().save_pretrained(root / "xcodec2")
    NeuCodecFeatureExtractor().save_pretrained(root / "neucodec")
    return root


@pytest.mark.parametrize(
    ("kind", "kbps", "books"),
    [
        ("encodec", 0.75, 2),
        ("dac", 1.125, 3),
        ("mimi", 0.125, 2),
        ("xcodec", 0.5, 1),
        ("higgs", 0.5, 2),
        ("wavtokenizer", 0.24, 1),
        ("xcodec2", 0.4, 1),
        ("neucodec", 0.4, 1),
    ],
)
def test_hugging_face_codecs_run_at_a_chosen_rate(folders, kind, kbps, books):
    codec = peers.load_codec(f"{kind}={folders / kind}@{kbps}")
    assert codec.kbps == pytest.approx(kbps) and codec.codebooks == books
    for samples in (1, 1000, 24_001):
        coded = codec.code(make_voice(2.0)[:samples])
        assert coded.wav.shape == (samples,) and coded.wav.dtype == np.float32
        assert coded.codes.shape == (books, -(-samples // codec.hop))
        assert coded.bits == coded.codes.size * np.log2(codec.codebook_size)


def test_input_and_output_rates_may_differ(folders):
    codec = peers.load_codec(f"neucodec={folders / 'neucodec'}")
    assert (codec.input_rate, codec.sample_rate, codec.frame_rate) == (16_000, 24_000, 50.0)


@pytest.mark.parametrize("kind", ["stable-codec", "moss"])
def test_codecs_that_no_library_implements_are_refused(kind):
    with pytest.raises(CodecUnavailable, match="has no model type for .* code of checkpoints"):
        peers.load_codec(kind)


def test_all_codebooks_by_default_and_rates_that_do_not_exist(folders):
    assert peers.load_codec(f"hf={folders / 'dac'}").codebooks == 4
    assert peers.load_codec(f"encodec={folders / 'encodec'}").kbps == pytest.approx(1.5)
    with pytest.raises(ValueError, match=r"must be one of 0.375, 0.75, 1.5, got 6"):
        peers.load_codec(f"encodec={folders / 'encodec'}@6")


def test_same_answer_as_the_model_itself(folders):
    from transformers import AutoModel

    wav = make_voice(1.0)
    for kind, extra in (
        ("encodec", {"bandwidth": 1.5}),
        ("mimi", {}),
        ("dac", {}),
        ("wavtokenizer", {}),
    ):
        model = AutoModel.from_pretrained(folders / kind).eval()
        with torch.no_grad():
            x = torch.from_numpy(wav)[None, None]
            expected = model(x, **extra).audio_values.reshape(-1).numpy()
        coded = peers.load_codec(f"{kind}={folders / kind}").code(wav)
        n = min(expected.size, wav.size) - 1920  # the last frame is padded differently
        assert np.allclose(coded.wav[:n], expected[:n], atol=1e-4), kind


def test_names():
    assert peers.parse_peer("mimi") == peers.PeerName("mimi", None, None)
    assert peers.parse_peer("dac=/a/b@1.5") == peers.PeerName("dac", "/a/b", 1.5)
    for text in ("encodec@", "=x", "hf=", "encodec@fast"):
        with pytest.raises(ValueError, match="must be"):
            peers.parse_peer(text)
    for text in ("lyra", "almtok", "hf", "opus-fast", "codec2-9000"):
        with pytest.raises(ValueError, match="must be|Codec2 mode"):
            peers.load_codec(text)


def test_a_folder_without_a_codec_says_so(tmp_path):
    with pytest.raises(CodecUnavailable, match="must be a folder or a hub id"):
        peers.load_codec(f"hf={tmp_path / 'nothing'}")


def test_missing_programs_say_what_to_install(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(CodecUnavailable, match="apt-get install codec2"):
        peers.load_classic_codec("codec2-700C")
    with pytest.raises(CodecUnavailable, match="apt-get install opus-tools"):
        peers.load_classic_codec("opus-6k")


@pytest.mark.skipif(shutil.which("c2enc") is None, reason="codec2 is not installed")
@pytest.mark.parametrize("mode", ["450", "700C", "1300", "2400"])
def test_codec2_is_aligned(mode):
    codec = peers.load_codec(f"codec2-{mode}")
    wav = make_voice(2.0, rate=8_000)
    coded = codec.code(wav)
    assert coded.wav.shape == wav.shape and coded.bits == codec.kbps * 2000
    # Syllables of the original and of the reconstruction rise and fall together.
    smooth = np.ones(400) / 400
    a, b = (np.sqrt(np.convolve(x**2, smooth, "same")) for x in (wav, coded.wav))
    lags = list(range(-400, 401, 40))
    best = lags[int(np.argmax([np.corrcoef(a, np.roll(b, -lag))[0, 1] for lag in lags]))]
    assert abs(best) <= 160  # 20 ms
    # The tail is decoded too: the codec is given silence to flush.
    assert codec.code(wav[:100]).wav.shape == (100,)


@pytest.mark.skipif(shutil.which("opusenc") is None, reason="opus-tools is not installed")
def test_opus_is_aligned():
    codec = peers.load_codec("opus-24k")
    wav = make_voice(2.0, rate=16_000)
    coded = codec.code(wav)
    assert coded.wav.shape == wav.shape and codec.external
    assert stoi(wav, coded.wav, 16_000) > 0.9
    with pytest.raises(ValueError, match="6 to 256"):
        peers.load_codec("opus-3k")


def test_our_codec(tmp_path):
    codec = codecs.load_almtok_codec("tiny", frames_per_query=3)
    assert codec.frame_rate == 25.0
    coded = codec.code(make_voice(1.0)[:23_000])
    assert coded.wav.shape == (23_000,)
    assert coded.codes.shape == (codec.model.config.num_codebooks, 24)
    codec.model.save_pretrained(tmp_path)
    again = peers.load_codec(f"almtok={tmp_path}")
    assert again.frame_rate == 12.5 and again.name == "almtok"
    assert again.settings()["fingerprint"] == codec.settings()["fingerprint"]


def test_fit_length():
    wav = np.arange(5, dtype=np.float32)
    assert fit_length(wav, 3, delay=1).tolist() == [1, 2, 3]
    assert fit_length(wav, 6, delay=2).tolist() == [2, 3, 4, 0, 0, 0]
