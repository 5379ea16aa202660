"""Defects 1 to 8 of paper.md 10.1 as tests, and window 0 of paper.md 2.2.

2 (MAE leak), 6 (AR copy) and 7 (detached adversarial loss) are tested at their objectives too.
"""

import pytest
import torch

from almtok.codec.losses.adversarial import generator_adversarial_loss
from almtok.codec.losses.autoregressive import AutoregressiveDepth, AutoregressiveDepthConfig
from almtok.codec.losses.discriminators import MelDiscriminators
from almtok.codec.losses.masked import MaskedFrames

from .toy import noise, toy_codec


def test_1_the_codes_are_the_whole_bottleneck():
    codec = toy_codec()
    codes = codec.encode(noise(1, 19_200)).audio_codes
    changed = (codes + 7) % codec.codebook_size
    heard, other = codec.decode(codes).audio_values, codec.decode(changed).audio_values
    assert (heard - other).abs().max() > 1e-3
    # same codes, same output, whatever was encoded in between
    codec.encode(noise(1, 50_000, seed=8))
    assert torch.equal(codec.decode(codes).audio_values, heard)


def test_1_every_layer_of_codes_is_heard():
    codec = toy_codec()
    codes = codec.encode(noise(1, 19_200)).audio_codes
    heard = codec.decode(codes).audio_values
    for k in range(3):
        changed = codes.clone()
        changed[:, k] = (changed[:, k] + 5) % codec.codebook_size
        assert (codec.decode(changed).audio_values - heard).abs().max() > 1e-5


def test_2_masked_prediction_does_not_see_what_it_predicts():
    codec = toy_codec()
    objective = MaskedFrames(codec.config.hidden_size)
    frames = codec.patchify(noise(2, 320 * 48)).detach().requires_grad_()
    seeds = torch.tensor([3, 4])
    batch = objective.mask(frames, seeds)
    prediction = objective.predict(batch.frames, lambda x: codec.encoder.encode_frames(x, 6))
    (prediction * batch.mask[..., None]).sum().backward()
    assert not frames.grad[batch.mask].any()
    assert frames.grad[~batch.mask].abs().max() > 0


def test_3_retrieval_returns_queries_in_the_model():
    # With the transformers removed, the encoder must return its query token at every place.
    codec = toy_codec()
    codec.encoder.transformer.layers = torch.nn.ModuleList()
    codec.encoder.transformer.norm = torch.nn.Identity()
    codec.encoder.output = codec.encoder.norm = torch.nn.Identity()
    frames = torch.full((2, 24, codec.config.hidden_size), -1.0)
    out = codec.encoder(frames, 6)
    assert torch.equal(out, codec.encoder.query.expand_as(out))


def test_4_samples_of_a_batch_do_not_see_each_other():
    codec = toy_codec()
    wav = noise(4, 19_200)
    together = codec(wav)
    order = torch.tensor([2, 0, 3, 1])
    permuted = codec(wav[order])
    assert torch.equal(permuted.audio_codes, together.audio_codes[order])
    torch.testing.assert_close(permuted.audio_values, together.audio_values[order])
    other = wav.clone()
    other[1:] = noise(3, 19_200, seed=77)
    assert torch.equal(codec(other).audio_codes[0], together.audio_codes[0])


@pytest.mark.parametrize("kind", ["conv", "linear"])
@pytest.mark.parametrize("mode", ["block_causal", "causal", "full"])
def test_5_gradient_passes_the_quantizer_to_encoder_and_patchify(kind, mode):
    codec = toy_codec(patchify=kind, attention_mode=mode).train()
    frames = codec.patchify(noise(2, 19_200))
    out = codec.quantizer(codec.encoder(frames, 6))
    codec.unpatchify(codec.decoder(out.quantized, 6)).square().sum().backward()
    for part in ("patchify", "encoder", "decoder", "unpatchify"):
        for name, parameter in getattr(codec, part).named_parameters():
            assert parameter.grad is not None and parameter.grad.abs().sum() > 0, f"{part}.{name}"


def test_6_depth_prediction_is_causal():
    objective = AutoregressiveDepth(32, config=AutoregressiveDepthConfig(num_layers=2))
    layers = torch.randn(2, 5, 3, 32)
    before = objective.predict(layers)
    changed = layers.clone()
    changed[:, :, 2] += 1  # item 3 may not enter the predictions of items 2 and 3
    torch.testing.assert_close(objective.predict(changed)[:, :, :2], before[:, :, :2])


def test_7_the_adversarial_loss_trains_the_generator():
    codec = toy_codec().train()
    judges = MelDiscriminators()
    frames = codec.patchify(noise(1, 19_200))
    wav = codec.unpatchify(codec.decoder(codec.quantizer(codec.encoder(frames, 6)).quantized, 6))
    generator_adversarial_loss(judges(wav)).backward()
    assert codec.unpatchify.layers[0].weight.grad.abs().sum() > 0
    assert codec.encoder.query.grad.abs().sum() > 0


def test_8_patchify_is_part_of_the_state(tmp_path):
    codec = toy_codec()
    names = codec.state_dict().keys()
    assert any(n.startswith("patchify.") for n in names)
    assert any(n.startswith("unpatchify.") for n in names)
    codec.save_pretrained(tmp_path)
    again = type(codec).from_pretrained(tmp_path).eval()
    wav = noise(1, 9_600)
    assert torch.equal(again.patchify(wav), codec.patchify(wav))
    assert torch.equal(again(wav).audio_values, codec(wav).audio_values)


@pytest.mark.parametrize("mode", ["block_causal", "causal", "full"])
@pytest.mark.parametrize("w", [2, 6])
def test_window_0_hears_its_own_query(mode, w):
    # paper.md 2.2: masks placed before their query would leave the first window blind
    codec = toy_codec(attention_mode=mode)
    codes = codec.encode(noise(1, 320 * w * 4), frames_per_query=w).audio_codes
    heard = codec.decode(codes, frames_per_query=w).audio_values
    changed = codes.clone()
    changed[:, :, 0] = (changed[:, :, 0] + 9) % codec.codebook_size
    difference = (codec.decode(changed, frames_per_query=w).audio_values - heard).abs()[
        ..., : 320 * w
    ]
    assert difference.max() > 1e-4


@pytest.mark.parametrize("mode", ["block_causal", "causal"])
def test_no_window_hears_later_queries(mode):
    codec = toy_codec(attention_mode=mode)
    codes = codec.encode(noise(1, 1920 * 4)).audio_codes
    heard = codec.decode(codes).audio_values
    changed = codes.clone()
    changed[:, :, 2] = (changed[:, :, 2] + 9) % codec.codebook_size
    difference = (codec.decode(changed).audio_values - heard).abs()[0, 0]
    assert difference[: 2 * 1920].max() == 0
    assert difference[2 * 1920 :].max() > 1e-4


def test_w_is_an_argument_and_not_a_state_of_the_model():
    codec = toy_codec()
    wav = noise(1, 19_200)
    codes = codec.encode(wav, frames_per_query=6).audio_codes
    codec.encode(wav, frames_per_query=2)
    assert torch.equal(codec.encode(wav, frames_per_query=6).audio_codes, codes)
    assert codec.encode(wav).audio_codes.shape[-1] == 10
