"""Placing a new codec by data: variance reaches the encoder, and all entries are in reach."""

import pytest
import torch

from almtok.codec.initialization import initialize_coders, initialize_patchify, initialize_quantizer
from almtok.codec.model import ALMTokenizer

from .toy import noise, toy_config


@pytest.fixture
def codec():
    torch.manual_seed(0)
    return ALMTokenizer(toy_config()).eval()


def test_the_encoder_sees_equal_variance_and_no_mean(codec):
    wavs = [noise(4, 24_000, seed=i) for i in range(6)]
    frames = torch.cat([codec.patchify(w[..., : 72 * 320]).flatten(0, 1) for w in wavs]).detach()
    initialize_coders(codec, wavs)
    seen = codec.encoder.input(frames)
    assert seen.mean(0).abs().max() < 0.05
    assert seen.var(0).min() > 0.2 * seen.var(0).max()


def test_the_decoder_begins_at_the_mean_frame(codec):
    wavs = [noise(4, 24_000)]
    frames = codec.patchify(wavs[0][..., : 72 * 320]).flatten(0, 1)
    initialize_coders(codec, wavs)
    torch.testing.assert_close(codec.decoder.output.bias, frames.mean(0), atol=1e-4, rtol=1e-3)


def test_all_codebooks_are_used_after_the_start(codec):
    wavs = [noise(8, 48_000, seed=i) for i in range(3)]
    initialize_coders(codec, wavs)
    codec.encoder.train()
    codec.encoder(codec.patchify(wavs[0][..., : 144 * 320]), 6)
    codec.eval()
    initialize_quantizer(codec, wavs)
    assert codec.quantizer.initialized
    codes = codec.encode(noise(8, 48_000, seed=9)).audio_codes
    assert all(len(codes[:, k].unique()) > 32 for k in range(3))  # of 64


def test_no_audio_is_an_error(codec):
    with pytest.raises(ValueError, match="at least one batch of audio, got none"):
        initialize_coders(codec, [])


@pytest.mark.parametrize("patchify", ["conv", "linear"])
def test_patchify_starts_the_same_with_a_vocoder(patchify):
    wavs, weights = [noise(4, 24_000)], []
    for unpatchify in ("mirror", "harmonic", "istft"):
        codec = ALMTokenizer(toy_config(patchify=patchify, unpatchify=unpatchify)).eval()
        initialize_patchify(codec, wavs)
        layer = codec.patchify.embedding if patchify == "linear" else codec.patchify.layers[0].conv
        weights.append(layer.weight)
    for other in weights[1:]:  # up to the small noise that breaks symmetry
        assert (other - weights[0]).norm() < 0.5 * weights[0].norm()


@pytest.mark.parametrize(
    "overrides", [{}, {"conv_channels": [4, 8, 16, 16, 24], "strides": [2, 4, 5, 8]}]
)
def test_patches_begin_near_the_identity(overrides):
    # smooth sound, which few channels can carry
    codec = ALMTokenizer(toy_config(hidden_size=64, **overrides)).eval()
    wav = torch.nn.functional.avg_pool1d(noise(4, 48_000), 64, 1, 32)[..., : 140 * 320]
    before = codec.unpatchify(codec.patchify(wav))
    initialize_patchify(codec, [wav])
    after = codec.unpatchify(codec.patchify(wav))
    assert (after - wav).square().mean() < 0.3 * wav.square().mean()
    assert (before - wav).square().mean() > 0.9 * wav.square().mean()


def test_linear_patches_begin_as_principal_axes():
    codec = ALMTokenizer(toy_config(patchify="linear", hidden_size=64)).eval()
    initialize_patchify(codec, [noise(4, 48_000)])
    rows = codec.patchify.embedding.weight
    torch.testing.assert_close(rows @ rows.T, torch.eye(64), atol=1e-4, rtol=0)
    torch.testing.assert_close(codec.unpatchify.projection.weight, rows.T)
