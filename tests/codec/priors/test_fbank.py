import pytest
import torch

from almtok.codec.priors import fbank as module
from almtok.codec.priors.fbank import fbank, normalized_fbank, num_frames


def test_window_and_bank_are_the_reference_s_to_the_bit(small):
    window, bank = module._tables(torch.device("cpu"))
    assert torch.equal(window, small["table/window"])
    assert torch.equal(bank.T, small["table/mel_banks"])


def test_raw_energies(small):
    ours = fbank(small["in/waveform"])
    assert ours.shape == small["ref/fbank_raw"].shape
    assert (ours - small["ref/fbank_raw"]).abs().max() <= 1e-5


def test_normalisation_is_judged_on_the_filter_bank_itself(small):
    # An error in the scale nearly cancels in the LayerNorm behind the patches.
    ours = normalized_fbank(small["in/waveform"])
    assert (ours - small["ref/fbank"]).abs().max() <= 1e-6


def test_mean_of_ten_seconds(base):
    mean = normalized_fbank(base["in/waveform"])[0].mean(0)
    assert (mean - base["ref/fbank_mean_per_bin"]).abs().max() <= 1e-5


def test_silence_and_the_empty_bin_are_the_floor():
    raw = fbank(torch.zeros(1000))
    assert torch.allclose(raw, torch.full_like(raw, -15.942385), atol=1e-6)
    noise = fbank(torch.randn(1000, generator=torch.Generator().manual_seed(0)))
    assert torch.allclose(noise[:, 3], torch.tensor(-15.942385), atol=1e-6)


@pytest.mark.parametrize(("seconds", "frames"), [(1, 98), (1.35, 133), (4, 398), (10, 998)])
def test_number_of_frames(seconds, frames):
    assert num_frames(int(16000 * seconds)) == frames
    assert len(fbank(torch.zeros(int(16000 * seconds)))) == frames


def test_too_short_is_named():
    with pytest.raises(ValueError, match="400 samples, got 399"):
        fbank(torch.zeros(399))
    assert num_frames(399) == 0 and num_frames(400) == 1


def test_equals_torchaudio_s_kaldi_front_end():
    kaldi = pytest.importorskip("torchaudio.compliance.kaldi")
    wav = torch.randn(1, 8000, generator=torch.Generator().manual_seed(1)) * 0.1
    theirs = kaldi.fbank(
        wav * 32768,
        num_mel_bins=128,
        sample_frequency=16000,
        frame_length=25,
        frame_shift=10,
        dither=0.0,
    )
    assert (fbank(wav)[0] - theirs).abs().max() <= 1e-5
