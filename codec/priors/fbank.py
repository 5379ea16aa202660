"""Kaldi's log-mel filter bank as in the training of BEATs, without torchaudio or Kaldi.

Window and filters are computed in float32 with the reference's order of operations: filters that
are computed in float64 and rounded change low-energy bins by up to 3e-4.

Shapes: ``B`` clips, ``S`` samples at 16 kHz, ``F`` frames of 10 ms.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor

SAMPLE_RATE = 16000
WINDOW, HOP, FFT, BINS = 400, 160, 512, 128
LOW, HIGH = 20.0, 8000.0
FLOOR = 1.1920928955078125e-07  # float32 epsilon
PREEMPHASIS = 0.97
# The same constants for all bins and all checkpoints; the authors double the deviation.
MEAN, DEVIATION = 15.41663, 6.55582


def num_frames(samples: int) -> int:
    """Return the number of whole 25 ms frames."""
    return 0 if samples < WINDOW else 1 + (samples - WINDOW) // HOP


def fbank(wav: Tensor) -> Tensor:
    """Return log mel energies.

    Args:
        wav: [..., S] float32 in [-1, 1] at 16 kHz.

    Returns:
        [..., F, 128] float32.
    """
    if wav.shape[-1] < WINDOW:
        raise ValueError(f"the filter bank needs at least {WINDOW} samples, got {wav.shape[-1]}")
    window, bank = _tables(wav.device)
    frames = (wav.float() * 32768).unfold(-1, WINDOW, HOP)  # [..., F, 400]
    frames = frames - frames.mean(-1, keepdim=True)
    before = torch.cat((frames[..., :1], frames[..., :-1]), -1)
    frames = (frames - PREEMPHASIS * before) * window
    power = torch.fft.rfft(frames, n=FFT).abs().square()[..., :-1]  # bin 256, 8 kHz, has weight 0
    return (power @ bank).clamp(min=FLOOR).log()


def normalized_fbank(wav: Tensor) -> Tensor:
    """Return ``fbank`` normalized by the statistics of BEATs' training data."""
    return (fbank(wav) - MEAN) / (2 * DEVIATION)


@lru_cache
def _tables(device: torch.device) -> tuple[Tensor, Tensor]:
    """Return the Povey window [400] and the mel bank [256, 128]."""
    window = torch.hann_window(WINDOW, periodic=False, dtype=torch.float32).pow(0.85)
    low, high = (1127.0 * math.log(1.0 + hertz / 700.0) for hertz in (LOW, HIGH))
    step = (high - low) / (BINS + 1)
    number = torch.arange(BINS, dtype=torch.float32)[:, None]
    left, centre, right = (low + (number + shift) * step for shift in (0.0, 1.0, 2.0))
    hertz = (SAMPLE_RATE / FFT) * torch.arange(FFT // 2, dtype=torch.float32)
    mel = 1127.0 * (1.0 + hertz / 700.0).log()
    # Linear in mel, not in hertz. Band 3 has no FFT bin and is always the floor, as in training.
    rising, falling = (mel - left) / (centre - left), (right - mel) / (right - centre)
    bank = torch.minimum(rising, falling).clamp(min=0.0)
    return window.to(device), bank.T.contiguous().to(device)
