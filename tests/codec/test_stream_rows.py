"""Streams of different lengths that are decoded as rows of one batch."""

import pytest
import torch

from .toy import toy_codec

CODECS = {
    "conv": {},
    "lstm": dict(lstm_layers=1),
    "linear": dict(patchify="linear"),
    "harmonic": dict(unpatchify="harmonic"),
    "istft": dict(unpatchify="istft"),
    "causal": dict(attention_mode="causal"),
}


def codes_of(codec, count, seed):
    generator = torch.Generator().manual_seed(seed)
    shape = (codec.num_codebooks, count)
    return torch.randint(codec.codebook_size, shape, generator=generator)


@pytest.mark.parametrize("name", CODECS)
def test_streams_that_join_and_leave_a_batch_are_streams_alone(name):
    codec = toy_codec(**CODECS[name])
    # Frames before the join; the attention window holds 8 windows of 6 frames.
    codes = {start: codes_of(codec, 30, seed=start) for start in (13, 1, 4)}
    decoders, heard = {}, {}
    for start, own in codes.items():
        decoders[start] = codec.stream_decoder(6)
        heard[start] = [decoders[start].push(own[:, :start])]
    places = dict.fromkeys(codes, 0) | {start: start for start in codes}
    batch = decoders[13]
    batch.join([decoders[1]])
    rows = [13, 1]
    for step, count in enumerate((1, 3, 1, 2, 1, 1, 4)):
        if step == 2:
            batch.join([decoders[4]])
            rows.append(4)
        if step == 5:
            batch, rows = batch.select([2, 1]), [4, 1]
        pushed = torch.stack([codes[row][:, places[row] : places[row] + count] for row in rows])
        for row, wav in zip(rows, batch.push(pushed), strict=True):
            heard[row].append(wav[None])
            places[row] += count
    for row, own in codes.items():
        alone = codec.decode(own[None, :, : places[row]], frames_per_query=6).audio_values
        wav = torch.cat(heard[row], dim=-1)
        torch.testing.assert_close(wav, alone[..., : wav.shape[-1]], atol=1e-5, rtol=1e-4)
        assert wav.shape == alone.shape
