"""The vocoder by inverse STFT: its transform, its streams, and what trains it."""

import numpy as np
import pytest
import torch

from almtok.codec.config import ALMTokenizerConfig
from almtok.codec.istft import IstftVocoder
from almtok.codec.losses.reconstruction import MelLoss
from almtok.codec.model import ALMTokenizer
from almtok.codec.vocoder import overlap_add

from .toy import noise, toy_codec, toy_config

HOP = 320


def made(**changes) -> IstftVocoder:
    torch.manual_seed(0)
    sizes = {"istft_width": 24, "istft_layers": 2, **changes}
    return IstftVocoder(toy_config(unpatchify="istft", **sizes))


@pytest.mark.parametrize("hops", [2, 3, 4])
def test_spectra_of_a_signal_give_the_signal(hops):
    """The windows add up to one: without a model the transform is the identity."""
    vocoder = made(istft_hops=hops)
    wav = torch.randn(1, 24 * HOP)
    spectrum = np.fft.rfft(wav.unfold(-1, vocoder.n_fft, HOP).numpy(), norm="ortho")
    output = np.concatenate([np.log(np.abs(spectrum) + 1e-12), np.angle(spectrum)], axis=-1)
    windows = vocoder.synthesize(torch.from_numpy(output))
    assert windows.dtype == torch.float32 and not windows.is_complex()
    tails = torch.zeros(1, hops - 1, vocoder.n_fft)
    found, _ = overlap_add(windows, tails, HOP)
    complete = slice((hops - 1) * HOP, found.shape[-1])  # earlier ones lack the windows before 0
    torch.testing.assert_close(found[0, :, complete], wav[:, complete], atol=1e-4, rtol=1e-4)


def test_the_magnitude_has_a_limit():
    vocoder = made()
    loud = torch.full((1, 3, vocoder.n_fft + 2), 1e4)
    assert float(vocoder.synthesize(loud).abs().max()) < np.exp(4) * vocoder.n_fft**0.5


@pytest.mark.parametrize("hops", [2, 4])
def test_streams_and_batches_equal_whole_signals(hops):
    vocoder = made(istft_hops=hops)
    frames = torch.randn(3, 60, 32)
    with torch.no_grad():
        whole = vocoder(frames)
        alone = torch.cat([vocoder(row[None]) for row in frames])
        state, parts = None, []
        for piece in frames.split([1, 2, 3, 1, 20, 33], dim=1):
            wav, state = vocoder.step(piece, state)
            parts.append(wav)
    assert list(whole.shape) == [3, 1, 60 * HOP]
    torch.testing.assert_close(alone, whole, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(torch.cat(parts, dim=-1), whole, atol=1e-5, rtol=1e-4)


def test_what_comes_later_changes_nothing_before():
    vocoder = made()
    frames = torch.randn(1, 40, 32)
    later = frames.clone()
    later[:, 25:] = torch.randn(1, 15, 32)
    with torch.no_grad():
        a, b = vocoder(frames), vocoder(later)
    torch.testing.assert_close(a[..., : 25 * HOP], b[..., : 25 * HOP], atol=1e-6, rtol=1e-5)
    assert not torch.equal(a[..., 25 * HOP :], b[..., 25 * HOP :])


def test_codes_do_not_depend_on_it(tmp_path):
    mirror, codec = toy_codec(), toy_codec(unpatchify="istft")
    values = {k: v for k, v in mirror.state_dict().items() if not k.startswith("unpatchify.")}
    codec.load_state_dict({**codec.state_dict(), **values})
    assert mirror.fingerprint == codec.fingerprint
    wav = noise(1, 9_600)
    codes = codec.encode(wav).audio_codes
    assert torch.equal(mirror.encode(wav).audio_codes, codes)
    codec.save_pretrained(tmp_path)
    again = ALMTokenizer.from_pretrained(str(tmp_path)).eval()
    assert again.fingerprint == codec.fingerprint
    assert torch.equal(again.decode(codes).audio_values, codec.decode(codes).audio_values)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_spectra_are_computed_in_float32_in_any_precision(dtype):
    codec = toy_codec(unpatchify="istft")
    codes = codec.encode(noise(1, 9_600)).audio_codes
    exact = codec.decode(codes).audio_values
    rounded = codec.decode_in(dtype).decode(codes).audio_values
    assert rounded.dtype == torch.float32
    error = (rounded - exact).square().mean() / exact.square().mean()
    assert 0 < float(error) < 0.05


def test_it_begins_with_the_spectrum_of_the_data():
    vocoder = made()
    wav = noise(2, 48_000)
    vocoder.initialize(wav)
    with torch.no_grad():
        heard = vocoder(torch.randn(2, 150, 32))
    assert 0.3 < float(heard.std() / wav.std()) < 1.2


def test_a_loss_on_the_waveform_reaches_every_weight():
    vocoder = made()
    frames = torch.randn(2, 30, 32, requires_grad=True)
    MelLoss()(vocoder(frames), noise(2, 30 * HOP)).backward()
    assert frames.grad is not None and frames.grad.abs().sum() > 0
    assert [name for name, p in vocoder.named_parameters() if not p.grad.abs().sum() > 0] == []


def test_a_window_of_one_hop_is_refused():
    with pytest.raises(ValueError, match="istft_hops must be at least 2, got 1"):
        ALMTokenizerConfig.preset("tiny", unpatchify="istft", istft_hops=1)
