"""Nothing of the codec assumes the CPU: shown on a pretended device, whose results are the same."""

import copy

import pytest
import torch

from almtok.codec.evaluation.codecs import AlmtokCodec
from almtok.codec.evaluation.harness import PeakMemory
from almtok.codec.initialization import initialize_coders, initialize_patchify, initialize_quantizer
from almtok.codec.priors.config import KMeansConfig
from almtok.codec.priors.kmeans import kmeans
from almtok.codec.priors.vectors import ShardVectors

from ..pretend_device import pretend_device
from .toy import noise, toy_codec


@pytest.fixture
def device():
    with pretend_device() as made:
        yield made


@pytest.mark.parametrize(
    "changes",
    [{}, {"unpatchify": "harmonic"}, {"unpatchify": "istft"}, {"attention_mode": "full"}],
)
def test_encode_and_decode_a_padded_batch(device, changes):
    codec, wav = toy_codec(**changes), noise(2, 9_000)
    mask = torch.ones(2, 9_000)
    mask[1, 5_000:] = 0
    codec.chunk_seconds = 0.2
    expected = codec.encode(wav, mask)
    sound = codec.decode(expected.audio_codes, length=expected.num_samples).audio_values
    codec.to(device)
    codes = codec.encode(wav.to(device), mask.to(device))
    assert codes.audio_codes.device == device
    assert torch.equal(codes.audio_codes.cpu(), expected.audio_codes)
    again = codec.decode(codes.audio_codes, length=codes.num_samples).audio_values
    assert torch.allclose(again.cpu(), sound, atol=1e-5)
    tokens = codec.tokenize(wav[0, 0])
    assert codec.detokenize(tokens).device == device


@pytest.mark.parametrize("unpatchify", ["mirror", "harmonic", "istft"])
def test_streams(device, unpatchify):
    codec = toy_codec(unpatchify=unpatchify).to(device)
    wav = noise(1, 7_000).to(device)
    whole = codec.encode(wav).audio_codes
    with codec.stream_encoder() as stream:
        parts = [stream.push(piece) for piece in wav.split(1_500, dim=-1)]
        codes = torch.cat([*parts, stream.finish()], dim=-1)
    assert torch.equal(codes.cpu(), whole.cpu())
    with codec.stream_decoder() as stream:
        sound = torch.cat([stream.push(one) for one in codes.split(2, dim=-1)], dim=-1)
    assert torch.allclose(sound.cpu(), codec.decode(codes).audio_values.cpu(), atol=1e-5)
    assert codec.stream_encoder().finish().device == device


@pytest.mark.parametrize("unpatchify", ["mirror", "harmonic", "istft"])
def test_an_untrained_codec_is_placed(device, unpatchify):
    codecs, wavs = [], [noise(4, 24_000)]
    for place in (torch.device("cpu"), device):
        codec = copy.deepcopy(toy_codec(unpatchify=unpatchify)).to(place)
        torch.manual_seed(1)
        with torch.no_grad():
            initialize_patchify(codec, [w.to(place) for w in wavs])
            initialize_coders(codec, [w.to(place) for w in wavs])
            initialize_quantizer(codec, [w.to(place) for w in wavs])
        codecs.append(codec)
    here, there = codecs
    assert there.quantizer.initialized
    for name, value in here.state_dict().items():
        other = there.state_dict()[name]
        assert other.device == device
        # Layers on a CPU round differently, which sends a few vectors to another entry.
        if not name.startswith("quantizer."):
            assert torch.allclose(value.float(), other.cpu().float(), atol=1e-4), name
    assert float(there(wavs[0].to(device)).audio_values.abs().max()) > 0


def test_spectra_are_sharpened(device):
    here = toy_codec(unpatchify="harmonic")
    there = copy.deepcopy(here).to(device)
    for codec in (here, there):
        with torch.no_grad():
            codec.unpatchify.sharpen(0.5, -2.0)
    assert torch.allclose(here.unpatchify.outer.weight, there.unpatchify.outer.weight.cpu())


def test_kmeans(device, tmp_path):
    data = torch.randn(300, 6, generator=torch.Generator().manual_seed(0))
    vectors = ShardVectors((data.numpy(),))
    config = KMeansConfig(clusters=9, init_vectors=200, passes=3)
    here = kmeans(vectors, config)
    there = kmeans(vectors, config, device=device, state_path=tmp_path / "state.safetensors")
    assert torch.allclose(here.centroids, there.centroids, atol=1e-5)
    assert torch.equal(here.counts, there.counts)
    assert here.inertia == pytest.approx(there.inertia, rel=1e-5)
    again = kmeans(vectors, config, device=device, state_path=tmp_path / "state.safetensors")
    assert torch.equal(again.centroids, there.centroids)


def test_it_is_evaluated(device):
    wav, memory = noise(1, 9_000)[0, 0].numpy(), PeakMemory(device)
    here = AlmtokCodec(toy_codec()).code(wav)
    memory.start()
    there = AlmtokCodec(toy_codec(), device=device).code(wav)
    assert memory.megabytes() > 0 and there.encode_seconds > 0
    assert (here.codes == there.codes).all()
