"""The codec in checkpoints/: it loads, and its codes mean what they meant when it was trained."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from almtok.__main__ import main
from almtok.codec.checkpoints import shipped
from almtok.codec.model import ALMTokenizer
from almtok.codec.refine import CodeRefiner
from almtok.codec.refine_config import RefineConfig
from almtok.codec.tokens import AudioTokens
from almtok.core.audio import read_audio
from almtok.core.metrics.audio import score_clip
from almtok.core.metrics.pitch import pitch_curve

RATE = 24_000
FIXTURES = Path(__file__).parent / "fixtures"
MINI = shipped()


@pytest.fixture(scope="module")
def card():
    return json.loads((MINI / "card.json").read_text())


@pytest.fixture(scope="module")
def codec() -> ALMTokenizer:
    return ALMTokenizer.from_pretrained(str(MINI / "codec")).eval()


@pytest.fixture(scope="module")
def voice() -> torch.Tensor:
    """A recording that the codec was not trained on, at the level of its training."""
    wav = torch.as_tensor(read_audio(FIXTURES / "kathleen_a0119.flac", RATE))
    return wav * (0.1 / wav.std())


def test_it_is_the_codec_of_its_card(codec, card):
    assert codec.fingerprint == card["fingerprint"]
    assert codec.config.bits_per_second() == card["bits_per_second"]


def test_its_codes_are_those_of_the_card(codec, voice, card):
    codes, expected = codec.tokenize(voice).codes, torch.tensor(card["codes_of_the_test"])
    assert codes.shape == expected.shape
    # Another processor may round a near tie the other way, and what follows in the window differs.
    assert float((codes == expected).float().mean()) > 0.8


def test_its_voice_keeps_the_pitch_and_the_level(codec, voice):
    heard = codec.detokenize(codec.tokenize(voice))
    assert heard.shape == voice.shape
    said, spoken = pitch_curve(voice.numpy(), RATE), pitch_curve(heard.numpy(), RATE)
    both = said.voiced & spoken.voiced
    assert both.sum() > 100
    assert np.median(np.abs(1200 * np.log2(spoken.hz[both] / said.hz[both]))) < 60
    assert 0.7 < float(heard.std() / voice.std()) < 1.2


def test_a_search_finds_better_codes(codec, voice):
    search = CodeRefiner.of(MINI / "codec", codec, RefineConfig(steps=8))
    assert search.phoneme_classifier is not None
    found = search.encode(voice[None, None])
    assert found.after < 0.93 * found.before
    heard = codec.decode(found.audio_codes, length=voice.numel()).audio_values[0, 0]
    plain = codec.detokenize(codec.tokenize(voice))
    assert pesq(voice, heard) > pesq(voice, plain)


def pesq(wav, decoded) -> float:
    """PESQ-WB of samples `[S]`."""
    return score_clip(wav.numpy(), decoded.numpy(), RATE, domain="speech").values["pesq_wb"]


def test_it_is_found_without_a_path(tmp_path, codec):
    sound = str(FIXTURES / "kathleen_a0119.flac")
    assert main(["encode", sound, "--out", str(tmp_path)]) == 0
    tokens = AudioTokens.load(tmp_path / "kathleen_a0119.safetensors")
    assert tokens.fingerprint == codec.fingerprint
    assert main(["decode", str(tmp_path), "--out", str(tmp_path)]) == 0
    assert len(read_audio(tmp_path / "kathleen_a0119.wav", RATE)) == tokens.num_samples


def test_an_unknown_name_is_told_with_those_there_are():
    with pytest.raises(ValueError, match="one of: mini; got 'maxi'"):
        shipped("maxi")
