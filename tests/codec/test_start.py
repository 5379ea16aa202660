"""Placing a new codec by data: variance reaches the encoder, and all entries are in reach."""

import pytest
import torch

from almtok.codec.model import ALMTokenizer
from almtok.codec.start import start_coders, start_quantizer

from .toy import noise, toy_config


@pytest.fixture
def codec():
    torch.manual_seed(0)
    return ALMTokenizer(toy_config()).eval()


def test_the_encoder_sees_equal_variance_and_no_mean(codec):
    wavs = [noise(4, 24_000, seed=i) for i in range(6)]
    frames = torch.cat([codec.patchify(w[..., : 72 * 320]).flatten(0, 1) for w in wavs]).detach()
    start_coders(codec, wavs)
    seen = codec.encoder.input(frames)
    assert seen.mean(0).abs().max() < 0.05
    assert seen.var(0).min() > 0.2 * seen.var(0).max()


def test_the_decoder_begins_at_the_mean_frame(codec):
    wavs = [noise(4, 24_000)]
    frames = codec.patchify(wavs[0][..., : 72 * 320]).flatten(0, 1)
    start_coders(codec, wavs)
    torch.testing.assert_close(codec.decoder.output.bias, frames.mean(0), atol=1e-4, rtol=1e-3)


def test_all_codebooks_are_used_after_the_start(codec):
    wavs = [noise(8, 48_000, seed=i) for i in range(3)]
    start_coders(codec, wavs)
    codec.encoder.train()
    codec.encoder(codec.patchify(wavs[0][..., : 144 * 320]), 6)
    codec.eval()
    start_quantizer(codec, wavs)
    assert codec.quantizer.started
    codes = codec.encode(noise(8, 48_000, seed=9)).audio_codes
    assert all(len(codes[:, k].unique()) > 32 for k in range(3))  # of 64


def test_no_audio_is_an_error(codec):
    with pytest.raises(ValueError, match="no audio"):
        start_coders(codec, [])
