"""Searched codes: nearer to the recording, of the same codec, and nothing else changes."""

import copy

import pytest
import torch

from almtok.__main__ import main
from almtok.codec.losses.reconstruction import MelLoss, MelLossConfig
from almtok.codec.model import ALMTokenizer
from almtok.codec.phonemes import PhonemeClassifier, PhonemeClassifierConfig
from almtok.codec.refine import CLASSIFIER_NAME, CodeRefiner
from almtok.codec.refine_config import RefineConfig
from almtok.codec.tokens import AudioTokens
from almtok.core.audio import write_audio

from .toy import noise, toy_codec

KINDS = [dict(), dict(unpatchify="harmonic"), dict(attention_mode="full")]
WINDOW = 1920


@pytest.fixture(scope="module", params=KINDS, ids=["mirror", "harmonic", "full"])
def codec(request):
    return toy_codec(**request.param)


def search(codec, phoneme_classifier=None, **values):
    return CodeRefiner(codec, RefineConfig(bfloat16=False, **values), phoneme_classifier)


def test_without_steps_it_is_the_encoder(codec):
    wav = noise(1, 10 * WINDOW - 7)
    found = search(codec, steps=0).encode(wav)
    assert torch.equal(found.audio_codes, codec.encode(wav).audio_codes)
    assert found.before == found.after


def test_steps_bring_codes_nearer(codec):
    found = search(codec, steps=12).encode(noise(1, 10 * WINDOW))
    assert found.after < found.before
    codec.check_codes(found.audio_codes)


def test_what_it_tells_is_what_is_decoded():
    codec, wav = toy_codec(), noise(1, 10 * WINDOW)
    only_mel = dict(mel=1.0, loudness=0.0, pitch=0.0, recognition=0.0)
    found = search(codec, steps=6, **only_mel).encode(wav)
    judge = MelLoss(MelLossConfig(windows=(512, 1024, 2048), mels=(24, 48, 160)))
    decoded = codec.decode(found.audio_codes).audio_values
    assert float(judge(decoded, wav)) == pytest.approx(found.after, rel=1e-4)


def test_pieces_go_on_where_the_last_one_ended():
    """The second piece is judged as a decoder says it that remembers the first."""
    codec, wav = toy_codec(unpatchify="harmonic"), noise(1, 20 * WINDOW)
    only_mel = dict(mel=1.0, loudness=0.0, pitch=0.0, recognition=0.0)
    found = search(codec, steps=3, piece_seconds=0.8, **only_mel).encode(wav)
    judge = MelLoss(MelLossConfig(windows=(512, 1024, 2048), mels=(24, 48, 160)))
    decoded = codec.decode(found.audio_codes).audio_values
    halves = zip(decoded.chunk(2, -1), wav.chunk(2, -1), strict=True)
    told = sum(float(judge(*half)) for half in halves) / 2
    assert told == pytest.approx(found.after, rel=1e-4)
    assert found.after < found.before


def test_a_phoneme_classifier_is_used():
    torch.manual_seed(0)
    codec, phoneme_classifier = (
        toy_codec(),
        PhonemeClassifier(PhonemeClassifierConfig(width=16)).eval(),
    )
    wav = noise(1, 10 * WINDOW)
    weights = dict(mel=0.0, loudness=0.0, pitch=0.0, recognition=1.0)
    found = search(codec, phoneme_classifier, steps=8, **weights).encode(wav)
    assert 0 < found.after < found.before


def test_the_codec_and_its_gradients_stay():
    codec = toy_codec(unpatchify="harmonic")
    before = copy.deepcopy(codec.state_dict())
    first = search(codec, steps=3).encode(noise(1, 4 * WINDOW))
    with torch.inference_mode():
        second = search(codec, steps=3).encode(noise(1, 4 * WINDOW))
    assert torch.equal(first.audio_codes, second.audio_codes)
    assert all(torch.equal(value, before[name]) for name, value in codec.state_dict().items())
    assert all(p.grad is None and p.requires_grad for p in codec.parameters())


@pytest.mark.parametrize("samples", [1, 100, WINDOW + 1])
def test_short_recordings(samples):
    codec = toy_codec(unpatchify="harmonic")
    found = search(codec, steps=2).encode(noise(1, samples))
    assert found.audio_codes.shape[-1] == -(-samples // WINDOW)


def test_silence_keeps_codes():
    codec = toy_codec(unpatchify="harmonic")
    found = search(codec, steps=3).encode(torch.zeros(1, 1, 4 * WINDOW))
    codec.check_codes(found.audio_codes)
    assert found.after <= found.before


def test_what_is_refused():
    codec = toy_codec()
    with pytest.raises(ValueError, match="must have 24000 Hz.*got 16000 Hz and 320"):
        search(codec, PhonemeClassifier(PhonemeClassifierConfig(width=16, sample_rate=16_000)))
    with pytest.raises(ValueError, match=r"one recording \[1, 1, S\], got \[2, 1, 1920\]"):
        search(codec).encode(noise(2, WINDOW))
    with pytest.raises(ValueError, match="frames_per_query must be an integer in .*, got 99"):
        search(codec).encode(noise(1, WINDOW), 99)
    with pytest.raises(ValueError, match="steps >= 0"):
        RefineConfig(steps=-1)


def test_the_commands(tmp_path, capsys):
    codec, place = toy_codec(unpatchify="harmonic"), tmp_path / "codec"
    codec.save_pretrained(place)
    PhonemeClassifier(PhonemeClassifierConfig(width=16)).save(place / CLASSIFIER_NAME)
    write_audio(tmp_path / "a.wav", noise(1, 8 * WINDOW)[0, 0], 24_000)
    said = ["--checkpoint", str(place), "--out", str(tmp_path)]
    assert main(["encode", str(tmp_path / "a.wav"), "--search", "2", *said]) == 0
    tokens = AudioTokens.load(tmp_path / "a.safetensors")
    assert tokens.fingerprint == codec.fingerprint
    assert main(["decode", str(tmp_path / "a.safetensors"), *said]) == 0
    assert CodeRefiner.of(place, ALMTokenizer.from_pretrained(place)).phoneme_classifier is not None
    scores = ["codec", "evaluate", "--data", f"speech={tmp_path / 'a.wav'}", "--search", "2"]
    assert main([*scores, "--checkpoint", str(place), "--out", str(tmp_path / "scores")]) == 0
    assert "almtok search 2" in capsys.readouterr().out
