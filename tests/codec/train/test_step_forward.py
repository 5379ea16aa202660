"""The forward pass of each stage: the path of encode and decode, at the drawn w."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from almtok.codec.train.config import CodecTrainConfig
from almtok.codec.train.step import FORWARD, draw_step
from almtok.core.data import SegmentBatch
from almtok.core.training.optimizer import gradient_norm

from .toy import build_state

Make = Callable[..., CodecTrainConfig]
Batch = Callable[..., SegmentBatch]


def test_w_is_drawn_uniformly_from_the_range(toy_config: Make) -> None:
    drawn = [draw_step(toy_config(), step, (2, 5)).frames_per_query for step in range(2000)]
    assert [drawn.count(w) for w in range(2, 6)] == pytest.approx([500] * 4, abs=80)  # 4 sigma
    assert set(drawn) == {2, 3, 4, 5}


@pytest.mark.parametrize("stage", ["2", "adapt"])
@pytest.mark.parametrize("w", [2, 4])
def test_a_step_runs_the_codec_at_the_drawn_w(
    toy_config: Make, toy_batch: Batch, stage: str, w: int
) -> None:
    """The very path of encode and decode; the codec's own w is 3."""
    state, batch = build_state(toy_config(stage, init_from="x")), toy_batch(frames=31)
    model = state.model.eval()
    draw = replace(draw_step(state.config, 0, (2, 5)), frames_per_query=w)
    with torch.no_grad():
        forward, _ = FORWARD[stage](state, batch.wav, batch.seeds, draw)
        target = batch.wav[..., : 31 // w * w * 320]
        frames = model.patchify(target)
        queries = model.quantizer.dequantize(model.quantizer.quantize(model.encoder(frames, w)))
        decoded = model.decoder(queries, w)
        expected = model.unpatchify(decoded)
    assert forward.frames_per_query == w and forward.output is not None
    assert torch.equal(forward.target, target)
    torch.testing.assert_close(forward.frames, frames)
    torch.testing.assert_close(forward.queries, queries, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(forward.decoded, decoded, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(forward.output, expected, atol=1e-5, rtol=1e-4)


def test_stage_1_is_patchify_and_back(toy_config: Make, toy_batch: Batch) -> None:
    state, batch = build_state(toy_config("1")), toy_batch()
    forward, inner = FORWARD["1"](state, batch.wav, batch.seeds, draw_step(state.config, 0, (2, 5)))
    frames = state.model.patchify(batch.wav)
    assert forward.target is batch.wav and forward.output is not None
    torch.testing.assert_close(forward.output, state.model.unpatchify(frames))
    torch.testing.assert_close(inner["masked"], state.losses["masked"](frames, batch.seeds))


def test_some_crops_are_decoded_from_raw_queries(toy_config: Make, toy_batch: Batch) -> None:
    count, found = 200, {}
    batch = toy_batch(count, frames=6)
    draw = replace(draw_step(toy_config(), 0, (2, 5)), frames_per_query=3)
    for share in (0.0, 0.3, 1.0):
        state = build_state(toy_config("2", quantize_probability=share))
        state.model.eval()
        with torch.no_grad():
            forward, _ = FORWARD["2"](state, batch.wav, batch.seeds, draw)
            found[share] = forward.queries
            raw = state.model.encoder(state.model.patchify(batch.wav), 3)
            quantized = state.model.quantizer(raw).quantized
    torch.testing.assert_close(found[0.0], raw)
    torch.testing.assert_close(found[1.0], quantized)
    distance = (raw - quantized).abs().amax(dim=(1, 2))
    is_raw = (found[0.3] - raw).abs().amax(dim=(1, 2)) < 1e-3 * distance
    is_quantized = (found[0.3] - quantized).abs().amax(dim=(1, 2)) < 1e-3 * distance
    assert (is_raw ^ is_quantized).all(), "a crop is the one or the other as a whole"
    assert 0.3 * count - 26 < int(is_quantized.sum()) < 0.3 * count + 26  # 4 sigma


def test_masked_frames_of_stage_2_go_through_the_query_encoder(
    toy_config: Make, toy_batch: Batch
) -> None:
    """Its Transformer, on frames without queries (paper.md 5.1), in blocks of the drawn w."""
    state, batch = build_state(toy_config("2")), toy_batch(frames=32)
    model, masked = state.model.eval(), state.losses["masked"]
    draw = replace(draw_step(state.config, 0, (2, 5)), frames_per_query=4)
    forward, inner = FORWARD["2"](state, batch.wav, batch.seeds, draw)
    encoder = model.encoder
    expected = masked(
        forward.frames,
        batch.seeds,
        lambda frames: encoder.output(encoder.transformer(encoder.input(frames), 4)),
    )
    torch.testing.assert_close(inner["masked"], expected)
    inner["masked"].backward()
    assert gradient_norm(encoder.transformer.parameters()) > 0
    assert encoder.query.grad is None
    assert all(p.grad is None for p in model.decoder.parameters())


def test_layer_prediction_teaches_the_encoder_through_each_layer(
    toy_config: Make, toy_batch: Batch
) -> None:
    state, batch = build_state(toy_config("2")), toy_batch(frames=32)
    model, loss = state.model.eval(), state.losses["autoregressive"]
    draw = replace(draw_step(state.config, 0, (2, 5)), frames_per_query=4)
    forward, inner = FORWARD["2"](state, batch.wav, batch.seeds, draw)
    queries = model.encoder(model.patchify(batch.wav), 4)
    codes = model.quantizer.quantize(queries)
    pairs = zip(model.quantizer.layers, codes.unbind(dim=1), strict=True)
    said = torch.stack([layer.decode(code) for layer, code in pairs], dim=2).detach()
    expected = loss(said + (queries - queries.detach())[:, :, None])
    torch.testing.assert_close(inner["autoregressive"], expected, atol=1e-5, rtol=1e-4)
    weights = list(model.encoder.parameters())
    grads = [torch.autograd.grad(x, weights) for x in (inner["autoregressive"], expected)]
    assert max(float(g.abs().max()) for g in grads[1]) > 1e-4
    for found, right in zip(*grads, strict=True):
        torch.testing.assert_close(found, right, atol=1e-5, rtol=1e-3)
