"""The filter bank of BEATs beside the reference's own numbers, made on another processor.

Logarithms, powers and cosines differ in their last bit from one instruction set to the next, so
what is equal up to how many roundings is counted here. One rounding is `EPS` of the value.
"""

import math

import pytest
import torch

from almtok.codec.priors import fbank as module
from almtok.codec.priors.fbank import fbank, normalized_fbank, num_frames

EPS = 2.0**-24
# 0.5 - 0.5 cos(x), x up to 2 pi: three roundings of x move the value by at most 0.5 * 3 * 2 pi =
# 9.4 EPS where it is steepest; the cosine, the difference and the power add at most 4. Beside its
# zeros the power of 0.85 steepens 3.7 times, but there x moves the value by a hundredth of that.
WINDOW = 14 * EPS
# A weight is a difference of mels over a band of 21.8 mels. Mels go up to 2840; hertz, quotient,
# sum, logarithm and product of one, product and sum of the other are eight roundings of that at
# most, above the line and, times the weight (at most 1), below it.
WEIGHT = 2 * 8 * 2840 * EPS / 21.8
# Sums of 400 samples and nine stages of butterflies, by the largest of a frame's spectrum; the sum
# over a band and the logarithm, of a value of at most 16.
SPECTRUM, ENERGY = 16 * EPS, 32 * EPS


def off_by(wav):
    """How far the logarithm of each energy [..., F, 128] may lie from another machine's."""
    _, bank = module._tables(wav.device)
    frames = (wav.float() * 32768).unfold(-1, 400, 160)
    frames = frames - frames.mean(-1, keepdim=True)
    frames = frames - 0.97 * torch.cat((frames[..., :1], frames[..., :-1]), -1)
    window = torch.hann_window(400, periodic=False).pow(0.85)
    amplitude = torch.fft.rfft(frames * window, n=512).abs()[..., :-1]
    heard = (bank > 0).float()
    # A band's edge may take in one more bin of the spectrum, or leave it out.
    heard = torch.nn.functional.max_pool1d(heard.T[:, None], 3, 1, 1)[:, 0].T
    wrong = SPECTRUM * amplitude.amax(-1, keepdim=True)
    energy = (amplitude.square() @ bank).clamp(min=module.FLOOR)
    moved = WEIGHT * (amplitude.square() @ heard) + ((2 * amplitude * wrong + wrong**2) @ bank)
    return torch.log1p(moved / energy) + ENERGY


def test_window_and_bank_are_the_reference_s_to_the_last_roundings(small):
    window, bank = module._tables(torch.device("cpu"))
    assert (window - small["table/window"]).abs().max() <= WINDOW
    assert (bank.T - small["table/mel_banks"]).abs().max() <= WEIGHT


def test_raw_energies(small):
    ours = fbank(small["in/waveform"])
    assert ours.shape == small["ref/fbank_raw"].shape
    away = (ours - small["ref/fbank_raw"]).abs()
    bound = off_by(small["in/waveform"])
    assert (away <= bound).all()
    assert bound.median() < 1e-3  # or the line above would say little


def test_normalisation_is_judged_on_the_filter_bank_itself(small):
    # An error in the scale nearly cancels in the LayerNorm behind the patches.
    ours = normalized_fbank(small["in/waveform"])
    bound = off_by(small["in/waveform"]) / (2 * module.DEVIATION)
    assert ((ours - small["ref/fbank"]).abs() <= bound + 4 * EPS).all()


def test_mean_of_ten_seconds(base):
    mean = normalized_fbank(base["in/waveform"])[0].mean(0)
    bound = off_by(base["in/waveform"])[0].mean(0) / (2 * module.DEVIATION)
    assert ((mean - base["ref/fbank_mean_per_bin"]).abs() <= bound + 4 * EPS).all()


def test_silence_and_the_empty_bin_are_the_floor():
    floor = torch.tensor(math.log(module.FLOOR))
    near = 2 * 16 * EPS  # a logarithm is good to two roundings of a value below 16
    raw = fbank(torch.zeros(1000))
    assert (raw - floor).abs().max() <= near
    noise = fbank(torch.randn(1000, generator=torch.Generator().manual_seed(0)))
    assert (noise[:, 3] - floor).abs().max() <= near


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
