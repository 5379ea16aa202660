"""The Hugging Face contract: saving, Auto classes, names and shapes, and one clear error each."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModel, Trainer, TrainingArguments

from almtok import ALMTokenizer, ALMTokenizerConfig, AudioTokens

from .toy import noise, toy_codec, toy_config


@pytest.fixture(scope="module")
def codec():
    return toy_codec()


@pytest.mark.parametrize("kind", ["conv", "linear"])
def test_save_and_load_is_bit_exact(tmp_path, kind):
    codec = toy_codec(patchify=kind)
    codec.save_pretrained(tmp_path)
    assert [p.name for p in tmp_path.iterdir() if p.suffix in {".bin", ".pt", ".pkl"}] == []
    again = ALMTokenizer.from_pretrained(tmp_path).eval()
    assert again.config.to_dict() == codec.config.to_dict() | {
        "_name_or_path": again.config._name_or_path
    }
    state, loaded = codec.state_dict(), again.state_dict()
    assert state.keys() == loaded.keys()
    assert all(torch.equal(state[k], loaded[k]) for k in state)
    wav = noise(2, 20_000)
    out, out2 = codec(wav), again(wav)
    assert torch.equal(out.audio_codes, out2.audio_codes)
    assert torch.equal(out.audio_values, out2.audio_values)  # paper.md 10.1, defect 8
    assert codec.fingerprint == again.fingerprint


def test_auto_classes(tmp_path, codec):
    codec.save_pretrained(tmp_path)
    assert isinstance(AutoConfig.from_pretrained(tmp_path), ALMTokenizerConfig)
    assert isinstance(AutoModel.from_pretrained(tmp_path), ALMTokenizer)


def test_names_and_shapes_are_mimis(codec):
    from transformers import MimiConfig, MimiModel

    mimi = MimiModel(
        MimiConfig(
            hidden_size=32, num_filters=4, num_hidden_layers=1, intermediate_size=32,
            num_attention_heads=2, num_key_value_heads=2, head_dim=16, codebook_size=16,
            codebook_dim=8, vector_quantization_hidden_dimension=8, num_quantizers=3,
            upsample_groups=32,
        )
    ).eval()  # fmt: skip
    wav = noise(2, 24_000)
    with torch.no_grad():
        theirs, ours = mimi.encode(wav), codec.encode(wav)
        assert ours.audio_codes.shape[:2] == theirs.audio_codes.shape[:2]
        assert ours.audio_codes.dtype == theirs.audio_codes.dtype
        audio, their_audio = (m.decode(c.audio_codes) for m, c in ((codec, ours), (mimi, theirs)))
        assert audio.audio_values.ndim == their_audio.audio_values.ndim == 3
    assert codec.main_input_name == mimi.main_input_name == "input_values"
    assert codec(wav).audio_values.shape == wav.shape


def test_facts_answer_moshis_questions():
    codec = ALMTokenizer(ALMTokenizerConfig.preset("tiny"))
    assert (codec.sample_rate, codec.frame_rate, codec.frame_size) == (24_000, 12.5, 1920)
    assert (codec.num_codebooks, codec.codebook_size) == (3, 256)


def test_the_paper_preset_is_the_papers_size():
    config = ALMTokenizerConfig.preset("paper")
    assert config.bits_per_second() == 412.5
    with torch.device("meta"):
        model = ALMTokenizer(config)
    assert sum(p.numel() for p in model.parameters()) == pytest.approx(174e6, rel=0.1)


def test_mini_stays_under_twelve_million():
    with torch.device("meta"):
        model = ALMTokenizer(ALMTokenizerConfig.preset("mini"))
    assert sum(p.numel() for p in model.parameters()) <= 12e6


ERRORS = [
    (dict(sampling_rate=16_000), r"24000 Hz, got 16000 Hz"),
    (dict(input_values=torch.zeros(1, 2, 100)), "1 channel .*, got 2"),
    (dict(input_values=torch.zeros(1, 1, 0)), r"not be empty, got \[1, 1, 0\]"),
    (dict(input_values=torch.zeros(0, 1, 10)), r"not be empty, got \[0, 1, 10\]"),
    (dict(input_values=torch.full((1, 1, 50), torch.nan)), "NaN or infinite"),
    (dict(input_values=torch.full((1, 1, 50), torch.inf)), "NaN or infinite"),
    (dict(input_values=torch.zeros(1, 1, 50, dtype=torch.int16)), "float samples.*got .*int16"),
    (dict(input_values=noise(1, 4000) * 32768), r"samples must lie in \[-1, 1\], got \d+"),
    (dict(input_values=torch.zeros(24_000)), r"\[B, 1, S\], got \[24000\]"),
    (dict(input_values=np.zeros((1, 1, 9), np.float32)), "got ndarray"),
    (dict(padding_mask=torch.ones(1, 99)), r"\[1, 4000\], got \[1, 99\]"),
    (dict(padding_mask=torch.zeros(1, 4000)), "got only 0 in row 0"),
    (dict(padding_mask=torch.arange(4000)[None] > 5), "padding on the right"),
    (dict(frames_per_query=0), "must be an integer in 1..47.*got 0"),
    (dict(frames_per_query=48), "must be an integer in 1..47.*got 48"),
]


@pytest.mark.parametrize(("change", "message"), ERRORS, ids=[m for _, m in ERRORS])
def test_encode_names_what_it_expects_and_what_it_got(codec, change, message):
    arguments = {"input_values": noise(1, 4000), **change}
    with pytest.raises(ValueError, match=message):
        codec.encode(**arguments)


CODE_ERRORS = [
    (torch.full((1, 3, 4), 64), r"0\.\.63, got 64"),
    (torch.full((1, 3, 4), -1), r"0\.\.63, got -1"),
    (torch.zeros(1, 4, 4, dtype=torch.int64), "1 to 3 codebooks, got 4"),
    (torch.zeros(3, 4, dtype=torch.int64), r"\[B, K, Q\], got \[3, 4\]"),
    (torch.zeros(1, 3, 0, dtype=torch.int64), "codes must not be empty"),
    (torch.zeros(1, 1, 24_000), "codes must be integers.*waveform"),
    ("codes", "got str"),
]


@pytest.mark.parametrize(("codes", "message"), CODE_ERRORS, ids=[m for _, m in CODE_ERRORS])
def test_decode_names_what_it_expects_and_what_it_got(codec, codes, message):
    with pytest.raises(ValueError, match=message):
        codec.decode(codes)


def test_fewer_codebooks_decode(codec):
    codes = codec.encode(noise(1, 9600)).audio_codes
    for k in (1, 2, 3):
        assert codec.decode(codes[:, :k]).audio_values.shape == (1, 1, 9600)


def test_tokens_carry_all_that_decoding_needs(tmp_path, codec):
    wav = noise(1, 10_000)[0, 0]
    tokens = codec.tokenize(wav, sampling_rate=24_000, frames_per_query=4)
    assert tokens.codes.shape == (3, 8) and tokens.num_samples == 10_000
    assert tokens.duration == pytest.approx(10_000 / 24_000)
    tokens.save(tmp_path / "a.tokens")
    assert [p.name for p in tmp_path.iterdir()] == ["a.tokens"]
    again = AudioTokens.load(tmp_path / "a.tokens")
    assert torch.equal(again.codes, tokens.codes)
    received = AudioTokens.from_bytes(tokens.to_bytes())
    assert dataclasses.replace(received, codes=tokens.codes) == tokens
    assert dataclasses.replace(again, codes=tokens.codes) == tokens
    heard = codec.detokenize(again)
    assert heard.shape == (10_000,)
    direct = codec.decode(tokens.codes[None], frames_per_query=4, length=10_000).audio_values[0, 0]
    assert torch.equal(heard, direct)


def test_tokens_of_another_codec_are_refused(codec):
    tokens = toy_codec(seed=9).tokenize(noise(1, 4000)[0, 0])
    with pytest.raises(
        ValueError, match=f"{codec.fingerprint}, got tokens of {tokens.fingerprint}"
    ):
        codec.detokenize(tokens)


def test_a_file_that_holds_no_tokens_is_named(tmp_path):
    path = tmp_path / "noise.tokens"
    path.write_bytes(b"not safetensors at all")
    with pytest.raises(ValueError, match="noise.tokens: not a readable safetensors"):
        AudioTokens.load(path)
    with pytest.raises(ValueError, match="^the upload: not a readable safetensors"):
        AudioTokens.from_bytes(path.read_bytes(), "the upload")
    with pytest.raises(FileNotFoundError):
        AudioTokens.load(tmp_path / "missing.tokens")


def test_fingerprint_follows_what_gives_codes_their_meaning():
    codec = toy_codec()
    before = codec.fingerprint
    with torch.no_grad():
        codec.decoder.mask.add_(1)
        codec.unpatchify.layers[0].bias.add_(1)
        codec.quantizer.layers[1].codebook.count.add_(1)
    assert codec.fingerprint == before  # the decoder half may change
    with torch.no_grad():
        codec.quantizer.layers[1].codebook.entries[0].add_(1)
    assert codec.fingerprint != before


def test_half_precision_keeps_the_quantizer_in_float32(tmp_path, codec):
    codec.save_pretrained(tmp_path)
    half = AutoModel.from_pretrained(tmp_path, dtype=torch.bfloat16).eval()
    assert half.encoder.query.dtype == torch.bfloat16
    assert half.quantizer.layers[0].codebook.entries.dtype == torch.float32
    assert half.fingerprint == codec.fingerprint
    out = half(noise(1, 9600))
    assert out.audio_values.dtype == torch.float32
    assert torch.isfinite(out.audio_values).all()


@pytest.mark.parametrize("name", ["dtype", "torch_dtype"])
@pytest.mark.parametrize("dtype", [torch.float16, "float16", "auto"])
def test_the_precision_is_the_one_asked_for(tmp_path, codec, name, dtype):
    toy_codec().half().save_pretrained(tmp_path)
    again = ALMTokenizer.from_pretrained(tmp_path, **{name: dtype})
    assert again.encoder.query.dtype == torch.float16
    assert ALMTokenizer.from_pretrained(tmp_path).encoder.query.dtype == torch.float32
    assert AutoModel.from_pretrained(tmp_path).encoder.query.dtype == torch.float32


def test_a_folder_saved_by_a_trainer_is_loaded(tmp_path, codec):
    args = TrainingArguments(str(tmp_path / "run"), use_cpu=True, report_to="none")
    Trainer(toy_codec(), args).save_model(str(tmp_path))
    assert ALMTokenizer.from_pretrained(tmp_path).fingerprint == codec.fingerprint


@pytest.mark.parametrize("name", ["use_cache", "eos_token_id", "push_to_hub"])
def test_the_constructor_takes_no_fields_that_the_model_does_not_have(name):
    with pytest.raises(ValueError, match=f"unknown field '{name}'"):
        ALMTokenizerConfig(**{name: 1})


def test_what_neither_side_knows_is_refused_on_loading(tmp_path):
    config = toy_config()
    config.save_pretrained(tmp_path)
    place = tmp_path / "config.json"
    values = json.loads(place.read_text()) | {"use_cache": True, "hiden_size": 3}
    place.write_text(json.dumps(values))
    with pytest.raises(ValueError, match="unknown field 'hiden_size'.*did you mean 'hidden_size'"):
        ALMTokenizerConfig.from_pretrained(tmp_path)


def test_arguments_are_mimis_in_name_and_order():
    from inspect import signature

    from transformers import MimiModel

    for method in ("encode", "decode", "forward", "get_encoded_length", "get_audio_codes_mask"):
        ours = list(signature(getattr(ALMTokenizer, method)).parameters)
        theirs = [
            name
            for name in signature(getattr(MimiModel, method)).parameters
            if "cache" not in name and name not in ("use_streaming", "kwargs")
        ]
        assert ours[: len(theirs)] == theirs


def test_options_of_mimi(codec):
    wav = noise(2, 9600)
    mask = torch.ones(2, 9600)
    mask[1, 5000:] = 0
    whole, two = codec.encode(wav, mask), codec.encode(wav, mask, 2)
    assert torch.equal(two.audio_codes, whole.audio_codes[:, :2])
    codes, *_ = codec.encode(wav, mask, return_dict=False)
    assert torch.equal(codes, whole.audio_codes)
    lengths = torch.tensor([9600, 5000])
    assert torch.equal(codec.get_encoded_length(lengths), whole.audio_codes_mask.sum(dim=1))
    assert torch.equal(codec.get_audio_codes_mask(mask), whole.audio_codes_mask)
    assert codec.get_encoded_length(torch.tensor([1, 1920, 1921])).tolist() == [1, 1, 2]
    (wavs,) = codec.decode(codes, mask, return_dict=False)
    assert torch.equal(wavs, codec.decode(codes, length=lengths).audio_values)
    given = codec(wav, mask, audio_codes=codes[:, :1])
    assert torch.equal(given.audio_values, codec(wav, mask, 1).audio_values)
    for call in (codec.encode, codec):
        with pytest.raises(ValueError, match=r"num_quantizers must lie in 1\.\.3, got 4"):
            call(wav, mask, 4)
    with pytest.raises(TypeError, match="takes no encoder_cache; streams are stream_encoder"):
        codec.encode(wav, encoder_cache=object())
    with pytest.raises(ValueError, match="padding_mask must be None with length"):
        codec.decode(codes, mask, length=5)


def test_the_model_card_names_the_fingerprint(tmp_path, codec):
    from huggingface_hub import ModelCard

    codec.save_pretrained(tmp_path)
    card = ModelCard.load(tmp_path / "README.md")
    assert card.data.library_name == "almtok" and codec.fingerprint in card.content


def test_the_folder_can_be_given_by_its_name_in_transformers(tmp_path, codec):
    codec.save_pretrained(tmp_path)
    again = ALMTokenizer.from_pretrained(pretrained_model_name_or_path=tmp_path)
    assert again.fingerprint == codec.fingerprint


def test_sound_in_half_precision_is_nearly_the_same_of_the_very_same_codes():
    codec = toy_codec()
    wav = noise(1, 9600)
    exact = codec(wav)
    half = codec.decode_in(torch.bfloat16)(wav)
    assert torch.equal(half.audio_codes, exact.audio_codes)
    assert half.audio_values.dtype == torch.float32
    error = (half.audio_values - exact.audio_values).norm() / exact.audio_values.norm()
    assert 0 < error < 0.05
    stream = codec.stream_decoder()
    pieces = [stream.push(code) for code in half.audio_codes.split(1, dim=-1)]
    assert torch.cat(pieces, dim=-1).dtype == torch.float32


def test_a_checkpoint_stored_in_half_precision_runs_in_float32(tmp_path):
    codec = toy_codec().to(torch.float16)
    assert torch.isfinite(codec.float()(noise(1, 9600)).audio_values).all()
    codec.to(torch.float16).save_pretrained(tmp_path)
    again = ALMTokenizer.from_pretrained(tmp_path).eval()
    assert {p.dtype for p in again.parameters()} == {torch.float32}
    assert torch.isfinite(again(noise(1, 9600)).audio_values).all()


@pytest.mark.parametrize("change", ["missing", "unexpected"])
def test_a_checkpoint_that_does_not_fit_is_refused(tmp_path, codec, change):
    codec.save_pretrained(tmp_path)
    file = tmp_path / "model.safetensors"
    weights = load_file(file)
    if change == "missing":
        del weights["encoder.query"]
    else:
        weights["encoder.riddle"] = torch.zeros(1)
    save_file(weights, file, {"format": "pt"})
    with pytest.raises(ValueError, match=f"1 {change} keys, such as encoder"):
        ALMTokenizer.from_pretrained(tmp_path)


def test_config_refuses_what_it_does_not_know(tmp_path):
    with pytest.raises(ValueError, match="'num_codebook'.*did you mean 'num_codebooks'"):
        ALMTokenizerConfig(num_codebook=4)
    with pytest.raises(Exception, match="num_codebooks.*int.*str"):
        ALMTokenizerConfig(num_codebooks="3")
    with pytest.raises(ValueError, match="preset must be .*tiny.*, got 'huge'"):
        ALMTokenizerConfig.preset("huge")
    with pytest.raises(ValueError, match="conv_channels"):
        ALMTokenizerConfig(strides=[2, 4])
    with pytest.raises(ValueError, match="attention_window must be at least .*, got 8"):
        ALMTokenizerConfig(attention_window=8)
    with pytest.raises(ValueError, match="attention heads"):
        ALMTokenizerConfig(hidden_size=36, num_attention_heads=8)


def test_config_file_survives_a_round_trip(tmp_path):
    config = toy_config(frames_per_query=3)
    config.save_pretrained(tmp_path)
    saved = json.loads((tmp_path / "config.json").read_text())
    assert "hop_length" not in saved  # derived numbers are computed, never stored
    assert ALMTokenizerConfig.from_pretrained(tmp_path).to_dict() == config.to_dict()
