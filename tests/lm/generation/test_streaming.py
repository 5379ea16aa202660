"""Sound while it is made is the sound that is made."""

import pytest
import torch

from almtok.lm.generation.sampling import GREEDY, SamplingConfig
from almtok.lm.generation.streaming import stream
from almtok.lm.patterns import layout

from ...codec.toy import toy_codec
from ..toy import EOS, toy_lm
from .conftest import EXAMPLES

AUDIO = (EXAMPLES[0], EXAMPLES[2])


@pytest.fixture(scope="module")
def codec():
    return toy_codec(codebook_size=16)


def collect(chunks, count):
    rows = [[chunk for chunk in chunks if chunk.row == number] for number in range(count)]
    for row in rows:
        assert [chunk.result is not None for chunk in row] == [False] * (len(row) - 1) + [True]
        assert [c.start for c in row[1:]] == [c.start + c.codes.shape[1] for c in row[:-1]]
    return rows


@pytest.mark.parametrize("chunk_frames", [1, 3])
def test_a_stream_is_the_offline_result(learned, codec, chunk_frames):
    options = dict(audio_sampling=SamplingConfig(temperature=3.0), max_frames=12, seed=3)
    offline = learned.lm.generate(**learned.prompts(AUDIO), **options)
    live = stream(learned.lm, codec, **learned.prompts(AUDIO), chunk_frames=chunk_frames, **options)
    rows = collect(list(live), len(AUDIO))
    for row, expected in zip(rows, offline, strict=True):
        codes = torch.cat([chunk.codes for chunk in row], dim=-1)
        assert torch.equal(codes, expected.codes) and torch.equal(row[-1].result.codes, codes)
        wav = torch.cat([chunk.waveform for chunk in row], dim=-1)
        whole = codec.decode(expected.codes[None], frames_per_query=6).audio_values
        torch.testing.assert_close(wav, whole[..., : wav.shape[-1]], atol=1e-4, rtol=0)
        assert wav.shape == whole.shape
        assert row[0].codes.shape[1] == 1  # as early as can be
    first = min(row[0].seconds for row in rows)
    assert live.first_chunk_latency == first > 0


def test_a_given_beginning_is_heard_but_not_repeated(learned, codec):
    target = AUDIO[0].segments[-1].codes
    batch = learned.batch(learned.prompt(AUDIO[0], target[:, :5]))
    (row,) = collect(list(stream(learned.lm, codec, **batch, audio_sampling=GREEDY)), 1)
    pattern = layout(learned.lm.config)
    first = 5 - max(pattern.shift) // pattern.stride  # frames that the delay leaves incomplete
    assert row[0].start == first
    wav = torch.cat([chunk.waveform for chunk in row], dim=-1)
    whole = codec.decode(target[None], frames_per_query=6).audio_values
    start = whole.shape[-1] * first // target.shape[1]
    torch.testing.assert_close(wav, whole[..., start:], atol=1e-4, rtol=0)


def test_the_caller_is_not_under_our_switches(depth, codec):
    depth.lm.train()
    live = iter(stream(depth.lm, codec, **depth.prompts(AUDIO), audio_sampling=GREEDY))
    next(live)
    assert torch.is_grad_enabled()
    live.close()
    assert depth.lm.training
    depth.lm.eval()


def test_wrong_codecs_and_targets_are_refused(depth, codec):
    with pytest.raises(ValueError, match="3 codebooks of 16 codes, got 3 of 64"):
        stream(depth.lm, toy_codec(), **depth.prompts(AUDIO))
    lm = toy_lm(codec_fingerprint="another")
    with pytest.raises(ValueError, match="codes of codec another, got codec"):
        stream(lm, codec, **depth.prompts(AUDIO))
    with pytest.raises(ValueError, match="targets of the prompts must be"):
        stream(depth.lm, codec, **depth.prompts(), eos_id=EOS)
    with pytest.raises(ValueError, match="chunk_frames must be at least 1, got 0"):
        stream(depth.lm, codec, **depth.prompts(AUDIO), chunk_frames=0)
