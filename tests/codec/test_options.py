"""Parts of the codec that are optional: LSTM layers in the convolutions, places in the window."""

import pytest
import torch

from almtok.codec.config import ALMTokenizerConfig
from almtok.codec.initialization import initialize_patchify
from almtok.codec.model import ALMTokenizer
from almtok.codec.plan import make_plan

from .toy import noise, toy_codec, toy_config

OPTIONS = [{"lstm_layers": 2}, {"window_positions": False}]


@pytest.mark.parametrize("options", OPTIONS)
def test_streams_are_the_whole_and_a_saved_codec_is_the_same(options, tmp_path):
    codec, wav = toy_codec(**options), noise(1, 6 * 320 * 9)
    codes = codec.encode(wav, frames_per_query=6).audio_codes
    audio = codec.decode(codes, frames_per_query=6, length=wav.shape[-1]).audio_values
    encoder = codec.stream_encoder(frames_per_query=6)
    parts = [encoder.push(chunk) for chunk in wav.split(2500, dim=-1)] + [encoder.finish()]
    assert torch.equal(torch.cat(parts, dim=-1), codes)
    decoder = codec.stream_decoder(frames_per_query=6)
    pieces = [decoder.push(part) for part in codes.split(2, dim=-1)]
    assert torch.allclose(torch.cat(pieces, dim=-1), audio, atol=1e-4)
    codec.save_pretrained(tmp_path)
    again = ALMTokenizer.from_pretrained(tmp_path)
    assert torch.equal(again.encode(wav, frames_per_query=6).audio_codes, codes)
    assert again.fingerprint == codec.fingerprint != toy_codec().fingerprint


def test_lstm_layers_are_two_of_each_side_and_reach_the_size_of_the_paper():
    plain, with_lstm = (
        make_plan(ALMTokenizerConfig.preset("paper", lstm_layers=count)) for count in (0, 2)
    )
    each = 2 * (4 * 2 * 512 * 512 + 8 * 512)  # weights of input and state, two biases
    assert with_lstm.parameters["patchify"] - plain.parameters["patchify"] == each
    assert with_lstm.parameters["unpatchify"] - plain.parameters["unpatchify"] == each
    assert with_lstm.num_parameters == pytest.approx(174e6, rel=0.005)
    # A multiply-add of every weight and frame.
    for part in ("patchify", "unpatchify"):
        more = with_lstm.flops[part] - plain.flops[part]
        assert more == pytest.approx(2 * (each - 2 * 8 * 512) * 75, rel=1e-3)
    with pytest.raises(ValueError, match="lstm_layers must be 0 for patchify 'linear', got 2"):
        toy_config(patchify="linear", lstm_layers=2)


def test_an_initialized_stack_with_lstm_layers_is_near_its_inverse():
    """As without them: what is decoded of frames resembles the waveform."""
    errors = []
    for count in (0, 2):
        torch.manual_seed(0)
        codec = ALMTokenizer(toy_config(lstm_layers=count))
        wav = noise(4, 320 * 60)
        initialize_patchify(codec, [wav])
        codec.eval()
        with torch.no_grad():
            decoded = codec.unpatchify(codec.patchify(wav))
        errors.append(float((decoded - wav).square().mean() / wav.square().mean()))
    assert errors[1] < 1 and errors[1] == pytest.approx(errors[0], rel=0.2)


def test_without_places_the_masks_of_a_window_are_equal_before_attention():
    codec = toy_codec(window_positions=False)
    assert codec.encoder.places is None and codec.decoder.places is None
    queries = torch.randn(1, 3, 32)
    sequence = codec.decoder._interleave(queries, 4).view(1, 3, 5, -1)
    assert torch.equal(sequence[:, :, :4], codec.decoder.mask.expand(1, 3, 4, -1))
    frames = codec.decoder(queries, 4)
    assert frames.shape == (1, 12, 32) and not torch.equal(frames[:, 0], frames[:, 1])
