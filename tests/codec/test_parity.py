"""Three-way parity: single = batched with padding = streamed in any chunking.

Codes exactly; waveform within 1e-4.
"""

import pytest
import torch
import torch.nn.functional as F

from .toy import noise, toy_codec

KINDS = [
    dict(),
    dict(patchify="linear"),
    dict(attention_mode="causal"),
    dict(attention_mode="full"),
    dict(unpatchify="harmonic"),
    dict(unpatchify="istft"),
    dict(pooling="mean"),
    dict(unpatchify="istft", istft_hops=4),
    dict(conv_channels=[4, 8, 16, 16, 24], strides=[2, 4, 5, 8], conv_kernel_size=5),
]
LENGTHS = [1, 319, 320, 1920, 1921, 24_000, 70_001]


def kind_id(kind) -> str:
    return "-".join(str(v) for v in kind.values()) or "default"


@pytest.fixture(scope="module", params=KINDS, ids=kind_id)
def codec(request):
    return toy_codec(**request.param)


def single(codec, wav, w):
    out = codec.encode(wav, frames_per_query=w)
    audio = codec.decode(out.audio_codes, frames_per_query=w, length=wav.shape[-1]).audio_values
    return out.audio_codes, audio


@pytest.mark.parametrize("w", [1, 2, 6, 10])
def test_batched_with_padding_equals_single(codec, w):
    rows = [noise(1, n, seed=i) for i, n in enumerate(LENGTHS)]
    longest = max(LENGTHS)
    # The padding is not silence: the mask alone must keep it out.
    batch = torch.cat([F.pad(r, (0, longest - r.shape[-1]), value=0.7) for r in rows])
    mask = torch.stack([torch.arange(longest) < r.shape[-1] for r in rows])
    out = codec.encode(batch, mask, frames_per_query=w)
    audio = codec.decode(out.audio_codes, frames_per_query=w, length=out.num_samples).audio_values
    assert out.num_samples.tolist() == LENGTHS
    for i, row in enumerate(rows):
        codes, alone = single(codec, row, w)
        count = codes.shape[-1]
        assert torch.equal(out.audio_codes[i, :, :count], codes[0])
        assert out.audio_codes_mask[i].tolist() == [q < count for q in range(mask_width(out))]
        torch.testing.assert_close(audio[i, :, : row.shape[-1]], alone[0], atol=1e-4, rtol=0)
        assert not audio[i, :, row.shape[-1] :].any()


def mask_width(out) -> int:
    return out.audio_codes_mask.shape[-1]


@pytest.mark.parametrize("chunking", ["samples", "windows", "hops", "wild"])
@pytest.mark.parametrize("w", [2, 6])
def test_streamed_equals_single(codec, w, chunking):
    if codec.config.attention_mode == "full":
        with pytest.raises(ValueError, match="got 'full'"):
            codec.stream_encoder()
        with pytest.raises(ValueError, match="got 'full'"):
            codec.stream_decoder()
        return
    samples = 3_000 if chunking == "samples" else 60_123
    wav = noise(1, samples, seed=w)
    codes, audio = single(codec, wav, w)
    sizes = {"samples": [1], "windows": [320 * w], "hops": [320], "wild": [7, 5000, 1, 23_456]}
    streamed = torch.cat(list(push_all(codec, wav, w, sizes[chunking])), dim=-1)
    assert torch.equal(streamed, codes)
    with codec.stream_decoder(w) as decoder:
        parts, at, step = [], 0, 1
        while at < codes.shape[-1]:  # 1, 2, 3, 1, 2, 3 ... columns at a time
            parts.append(decoder.push(codes[..., at : at + step]))
            at, step = at + step, step % 3 + 1
    heard = torch.cat(parts, dim=-1)[..., :samples]
    torch.testing.assert_close(heard, audio, atol=1e-4, rtol=0)


def push_all(codec, wav, w, sizes):
    with codec.stream_encoder(w) as encoder:
        at, turn = 0, 0
        while at < wav.shape[-1]:
            size = sizes[turn % len(sizes)]
            yield encoder.push(wav[..., at : at + size])
            at, turn = at + size, turn + 1
        yield encoder.finish()


def test_minutes_of_audio_in_chunks_equal_one_piece():
    codec = toy_codec()
    wav = noise(1, 24_000 * 150 + 77, seed=5)
    codec.chunk_seconds = 10.0
    codes, audio = single(codec, wav, 6)
    codec.chunk_seconds = 1e6
    whole_codes, whole_audio = single(codec, wav, 6)
    assert torch.equal(codes, whole_codes)
    torch.testing.assert_close(audio, whole_audio, atol=1e-4, rtol=0)


def test_batched_streams_equal_single_streams():
    codec = toy_codec()
    wav = noise(3, 20_000, seed=2)
    together = torch.cat(list(push_all(codec, wav, 6, [3000])), dim=-1)
    for i in range(3):
        alone = torch.cat(list(push_all(codec, wav[i : i + 1], 6, [3000])), dim=-1)
        assert torch.equal(together[i], alone[0])


def test_latency_is_one_window():
    codec = toy_codec()
    with codec.stream_encoder(6) as encoder:
        assert encoder.push(noise(1, 1919)).shape[-1] == 0
        codes = encoder.push(noise(1, 1))
        assert codes.shape[-1] == 1
    with codec.stream_decoder(6) as decoder:
        assert decoder.push(codes).shape[-1] == 1920


def test_a_finished_stream_says_so():
    codec = toy_codec()
    encoder = codec.stream_encoder()
    encoder.push(noise(1, 100))
    assert encoder.finish().shape[-1] == 1
    with pytest.raises(ValueError, match="finished"):
        encoder.push(noise(1, 100))


def test_packed_weights_change_nothing():
    from almtok.core.linear import unpacked

    codec = toy_codec()
    wav = noise(1, 24_000)
    codes, audio = single(codec, wav, 6)
    with unpacked():
        plain_codes, plain_audio = single(codec, wav, 6)
    assert torch.equal(codes, plain_codes)
    torch.testing.assert_close(audio, plain_audio, atol=1e-5, rtol=0)


def test_a_changed_weight_is_packed_anew():
    codec = toy_codec()
    wav = noise(1, 24_000)
    _, before = single(codec, wav, 6)
    with torch.no_grad():
        codec.decoder.transformer.layers[0].ffn_out.weight.mul_(2)
        codec.unpatchify.layers[0].weight[0].mul_(3)  # inside the weight norm: direction only
        codec.unpatchify.layers[0].gain.mul_(1.5)
    _, after = single(codec, wav, 6)
    fresh = type(codec)(codec.config)
    fresh.load_state_dict(codec.state_dict())
    _, expected = single(fresh.eval(), wav, 6)
    assert (after - before).abs().max() > 1e-3
    torch.testing.assert_close(after, expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("frames", [1, 7, 50])
def test_convolutions_in_chunks_equal_one_pass(frames):
    codec = toy_codec()
    wav = noise(3, 24_001)
    codec.patchify.chunk_frames = codec.unpatchify.chunk_frames = 10**9
    codes, audio = single(codec, wav, 6)
    codec.patchify.chunk_frames = codec.unpatchify.chunk_frames = frames
    codes_in_chunks, audio_in_chunks = single(codec, wav, 6)
    assert torch.equal(codes_in_chunks, codes)
    torch.testing.assert_close(audio_in_chunks, audio, atol=1e-5, rtol=0)
