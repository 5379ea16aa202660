"""A damaged model folder is loaded or refused in one line, whatever is damaged in it."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from almtok.codec.model import ALMTokenizer
from almtok.codec.phonemes import PhonemeClassifier, PhonemeClassifierConfig
from almtok.codec.priors.prior import load_prior, random_prior
from almtok.codec.whisper import WhisperFeatures
from almtok.core.size_limit import SizeLimit
from almtok.lm.model import AudioLM
from almtok.lm.processor import AudioLMProcessor
from almtok.lm.text.tokenizer import load_tokenizer
from almtok.tasks import AudioLMPipeline

from .fuzz import fuzz_bytes, fuzz_json


@pytest.fixture(autouse=True)
def _no_bars():
    from transformers.utils import logging

    logging.disable_progress_bar()
    logging.set_verbosity_error()


@pytest.mark.parametrize("first", [0, 60])
def test_the_codec_s_configuration(folder, first):
    place = folder / "codec"
    counts = fuzz_json(
        place / "config.json", lambda: ALMTokenizer.from_pretrained(place), 60, first=first
    )
    assert counts["refused"] > 20 and counts["valid"] > 2


def test_the_codec_s_weights(folder):
    place = folder / "codec"
    counts = fuzz_bytes(
        place / "model.safetensors", lambda: ALMTokenizer.from_pretrained(place), 60
    )
    assert counts["refused"] > 20


@pytest.mark.parametrize("first", [0, 60])
def test_the_language_model_s_configuration(folder, first):
    place = folder / "lm"
    counts = fuzz_json(
        place / "config.json", lambda: AudioLM.from_pretrained(place), 60, first=first
    )
    assert counts["refused"] > 20 and counts["valid"] > 2


def test_the_language_model_s_weights(folder):
    place = folder / "lm"
    counts = fuzz_bytes(place / "model.safetensors", lambda: AudioLM.from_pretrained(place), 60)
    assert counts["refused"] > 20


@pytest.mark.parametrize("name", ["processor_config.json", "tokenizer_config.json"])
def test_the_processor_s_files(folder, name):
    place = folder / "lm"
    counts = fuzz_json(place / name, lambda: AudioLMProcessor.from_pretrained(place), 80)
    assert counts["refused"] > 10


def test_the_vocabulary(folder):
    place = folder / "lm"
    load = lambda: AudioLMProcessor.from_pretrained(place)  # noqa: E731
    fuzz_json(place / "tokenizer.json", load, 40)
    counts = fuzz_bytes(place / "tokenizer.json", load, 40)
    assert counts["refused"] > 10


@pytest.mark.parametrize("dtype", ["auto", "int8", "int4"])
@pytest.mark.parametrize("name", ["lm/config.json", "codec/config.json", "lm/model.safetensors"])
def test_the_whole_folder_in_every_precision(folder, name, dtype):
    path = folder / name
    fuzz = fuzz_json if path.suffix == ".json" else fuzz_bytes
    load = lambda: AudioLMPipeline.from_pretrained(folder, dtype=dtype)  # noqa: E731
    assert fuzz(path, load, 8)["refused"]


def test_a_prior(tmp_path):
    path = tmp_path / "prior.safetensors"
    random_prior(seed=0, codebook_size=8, dim=4).save(path)
    counts = fuzz_bytes(path, lambda: load_prior(path), 300)
    assert counts["refused"] > 100


def test_a_phoneme_classifier(tmp_path):
    path = tmp_path / "phoneme_classifier.safetensors"
    PhonemeClassifier(PhonemeClassifierConfig(width=8)).save(path)
    counts = fuzz_bytes(path, lambda: PhonemeClassifier.load(path), 100)
    assert counts["refused"] > 30


# ---------------------------------------------------------------------- sizes


SIZES = [
    ("codec", "hidden_size", 2 * 10**9),
    ("codec", "codebook_size", 10**9),
    ("codec", "encoder_layers", 9_999),
    ("codec", "num_codebooks", 10**9),
    ("codec", "conv_channels", [1, 8, 16, 16, 10**9]),
    ("codec", "strides", [8, 5, 4, 10**9]),
    ("lm", "depth_width", 10**9),
    ("lm", "codebook_size", 10**9),
    ("lm", "num_codebooks", 10**9),
    ("lm", "backbone.vocab_size", 10**10),
    ("lm", "backbone.hidden_size", 10**9),
    ("lm", "backbone.num_hidden_layers", 10**9),
    ("lm", "backbone.head_dim", 10**11),
    ("codec", "num_labels", 10**6),
    ("lm", "num_labels", 10**6),
    ("lm", "backbone.num_labels", 10**6),
]


@pytest.mark.parametrize(("part", "name", "value"), SIZES)
def test_a_size_that_memory_does_not_hold_is_refused_before_it_is_allocated(
    folder, part, name, value
):
    path = folder / part / "config.json"
    values = json.loads(path.read_text())
    *way, last = name.split(".")
    (values[way[0]] if way else values)[last] = value
    path.write_text(json.dumps(values))
    load = AudioLM if part == "lm" else ALMTokenizer
    with pytest.raises(ValueError, match=str(folder / part)) as caught:
        load.from_pretrained(folder / part)
    assert "\n" not in str(caught.value)


# ---------------------------------------------------------------------- weights and vocabularies


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_codec_with_nan_or_infinite_weights_is_refused(folder, value):
    path = folder / "codec" / "model.safetensors"
    weights = load_file(path)
    weights["decoder.output.weight"][3, 1] = value
    save_file(weights, path, metadata={"format": "pt"})
    with pytest.raises(ValueError, match="decoder.output.weight has NaN or infinite weights"):
        ALMTokenizer.from_pretrained(folder / "codec")


def permute(folder) -> None:
    """Two pieces of the vocabulary change places."""
    path = folder / "lm" / "tokenizer.json"
    values = json.loads(path.read_text())
    vocabulary = values["model"]["vocab"]
    one, two = "▁t", "▁d" if "▁d" in vocabulary else "s"
    one = one if one in vocabulary else "e"
    vocabulary[one], vocabulary[two] = vocabulary[two], vocabulary[one]
    path.write_text(json.dumps(values))


def test_a_permuted_vocabulary_is_refused(folder):
    permute(folder)
    with pytest.raises(ValueError, match="vocabulary of the tokenizer must be"):
        AudioLMPipeline.from_pretrained(folder)


def test_a_processor_of_another_model_is_refused(folder):
    permute(folder)
    path = folder / "lm" / "processor_config.json"
    values = json.loads(path.read_text())
    values["lm"]["tokenizer_fingerprint"] = None  # saved by hand, or before there were any
    path.write_text(json.dumps(values))
    with pytest.raises(ValueError, match="vocabulary of the processor must be"):
        AudioLMPipeline.from_pretrained(folder)


def test_a_checkpoint_without_fingerprint_is_loaded(folder):
    for name in ("config.json", "processor_config.json"):
        path = folder / "lm" / name
        values = json.loads(path.read_text())
        (values if name == "config.json" else values["lm"]).pop("tokenizer_fingerprint")
        path.write_text(json.dumps(values))
    assert AudioLMPipeline.from_pretrained(folder).lm.config.tokenizer_fingerprint is None


def test_the_size_limit_ends_with_its_block():
    with pytest.raises(ValueError, match="too large"), SizeLimit(10, 10, "a test"):
        torch.empty(11)
    assert torch.empty(11).shape == (11,)  # the limit ends with the block


@pytest.mark.parametrize("place", ["/no/such", "./none", "runs/my/codec", "~/codec"])
def test_a_folder_that_is_not_there_is_no_hub_id(place, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for load in (ALMTokenizer.from_pretrained, load_tokenizer, WhisperFeatures.from_pretrained):
        with pytest.raises(FileNotFoundError, match=f"no such folder: {place}"):
            load(place)
