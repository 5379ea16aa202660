"""Spectra for losses and discriminators: framing, magnitudes, mel filters.

Shapes: B batch, S samples, L spectral frames, F frequency bins, M mel bands.

Three conventions give floors and weights the same meaning at every resolution:

* windows have unit energy, so white noise of deviation s has magnitude about s in every bin;
* each mel filter sums to one, so a band is a weighted mean of its bins, whatever its width;
* a filter is never narrower than one bin spacing, so no band is empty (at 24 kHz a bank of 64 bands
  over a window of 128 samples would have empty bands, with a constant loss).

Windows and filters are cached per device instead of registered as buffers: they survive
construction on the meta device and `module.to(bfloat16)`.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

MelScale = Literal["slaney", "htk"]

# Slaney's scale (Auditory Toolbox, librosa's default): linear to 1 kHz, then 27 steps per 6.4x.
_SLANEY_HZ_PER_MEL = 200.0 / 3.0
_SLANEY_BREAK_HZ = 1000.0
_SLANEY_LOG_STEP = np.log(6.4) / 27.0


def magnitude(wav: Tensor, n_fft: int, hop_length: int) -> Tensor:
    """Return the short-time magnitude spectrum, float32 also under autocast.

    Frames are centred as in `torch.stft(center=True)`. Framing by slices of hops is about 20 %
    faster than `torch.stft` with its backward pass on a CPU.

    Args:
        wav: `[B, S]` or `[B, 1, S]`, any S >= 1. Signals too short for reflection are zero-padded.
        n_fft: window and transform length in samples, a multiple of `hop_length`.
        hop_length: samples from one frame to the next.

    Returns:
        `[B, L, F]` with `L = 1 + S // hop_length` and `F = n_fft // 2 + 1`.
    """
    if n_fft % hop_length or n_fft % 2:
        raise ValueError(
            f"n_fft must be even and a multiple of hop_length, got {n_fft} and {hop_length}"
        )
    with torch.autocast(device_type=wav.device.type, enabled=False):
        wav = wav.float()
        wav = wav.reshape(wav.shape[0], 1, wav.shape[-1])
        half = n_fft // 2
        mode = "reflect" if wav.shape[-1] > half else "constant"
        wav = F.pad(wav, (half, n_fft - half), mode=mode)[:, 0]
        overlap = n_fft // hop_length
        num_hops = wav.shape[-1] // hop_length
        num_frames = num_hops - overlap + 1
        hops = wav[:, : num_hops * hop_length].reshape(-1, num_hops, hop_length)
        frames = torch.cat([hops[:, i : i + num_frames] for i in range(overlap)], dim=-1)
        return _Magnitude.apply(frames * _window(n_fft, wav.device))  # [B, L, F]


class _Magnitude(torch.autograd.Function):
    """`rfft(frames).abs()` of frames of even length, in half the time on a CPU.

    The backward pass of `rfft` in PyTorch is a complex transform of twice the necessary size, and
    its complex `abs` is a slow `hypot`: 4.5 ms against 2.5 ms for eight seconds of audio.
    """

    @staticmethod
    def forward(ctx: Any, frames: Tensor) -> Tensor:
        """Map `[..., n]` to magnitudes `[..., n // 2 + 1]`."""
        spectrum = torch.fft.rfft(frames)
        real, imaginary = torch.view_as_real(spectrum).unbind(-1)
        magnitudes = real.square().addcmul_(imaginary, imaginary).sqrt_()
        ctx.save_for_backward(spectrum, magnitudes)
        ctx.length = frames.shape[-1]
        return magnitudes

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        """Return the gradient of the frames; zero where the magnitude is zero."""
        spectrum, magnitudes = ctx.saved_tensors
        scale = gradient / magnitudes.clamp_min(1e-15)
        # The inverse transform counts every bin but the first and the last twice.
        scale[..., 1:-1] *= 0.5
        scaled = torch.view_as_complex(torch.view_as_real(spectrum) * scale[..., None])
        return torch.fft.irfft(scaled, n=ctx.length, norm="forward")


def mel_magnitude(
    wav: Tensor,
    *,
    sample_rate: int,
    n_fft: int,
    hop_length: int,
    n_mels: int,
    f_min: float = 0.0,
    f_max: float | None = None,
    mel_scale: MelScale = "slaney",
) -> Tensor:
    """Return the mel spectrum of magnitudes (not powers) `[B, L, M]`, float32 also under autocast.

    Args:
        wav: `[B, S]` or `[B, 1, S]`.
        sample_rate: in Hz.
        n_fft: window length in samples.
        hop_length: in samples.
        n_mels: bands M.
        f_min: lower edge of the first band in Hz.
        f_max: upper edge of the last band in Hz; None means half the sample rate.
        mel_scale: see :func:`mel_filters`.
    """
    spectrum = magnitude(wav, n_fft, hop_length)
    filters = _filters_on(
        spectrum.device, sample_rate, n_fft, n_mels, f_min, f_max or sample_rate / 2, mel_scale
    )
    with torch.autocast(device_type=wav.device.type, enabled=False):
        return spectrum @ filters


def mel_filters(
    *,
    sample_rate: int,
    n_fft: int,
    n_mels: int,
    f_min: float = 0.0,
    f_max: float | None = None,
    mel_scale: MelScale = "slaney",
) -> np.ndarray:
    """Return triangular mel filters `[F, M]` in float64; each column sums to one, none is empty.

    Args:
        sample_rate: in Hz.
        n_fft: transform length, `F = n_fft // 2 + 1`.
        n_mels: number of filters M.
        f_min: lower edge of the first filter in Hz.
        f_max: upper edge of the last filter in Hz; None means half the sample rate.
        mel_scale: "slaney" (default; librosa, DAC; even steps below 1 kHz resolve the harmonics of
            a voice) or "htk" (torchaudio's default, EnCodec).
    """
    f_max = f_max or sample_rate / 2
    if not 0 <= f_min < f_max <= sample_rate / 2:
        raise ValueError(
            f"edges must be 0 <= f_min < f_max <= {sample_rate / 2} Hz, got {f_min} and {f_max}"
        )
    bins = np.linspace(0.0, sample_rate / 2, n_fft // 2 + 1)  # [F] Hz
    spacing = sample_rate / n_fft
    low, high = _hz_to_mel(np.array([f_min, f_max]), mel_scale)
    mel_edges = np.linspace(float(low), float(high), n_mels + 2)
    edges = _mel_to_hz(mel_edges, mel_scale)
    centre = edges[1:-1]
    # Every open interval longer than one spacing on each side holds at least one bin.
    below = np.maximum(centre - edges[:-2], spacing)
    above = np.maximum(edges[2:] - centre, spacing)
    offset = bins[:, None] - centre[None, :]  # [F, M]
    filters = np.maximum(0.0, 1.0 - np.where(offset < 0, -offset / below, offset / above))
    return filters / filters.sum(axis=0, keepdims=True)


def _hz_to_mel(hz: np.ndarray, scale: MelScale) -> np.ndarray:
    if scale == "htk":
        return 2595.0 * np.log10(1.0 + hz / 700.0)
    if scale != "slaney":
        raise ValueError(f"mel_scale must be 'slaney' or 'htk', got {scale!r}")
    log_part = _SLANEY_BREAK_HZ / _SLANEY_HZ_PER_MEL + (
        np.log(np.maximum(hz, _SLANEY_BREAK_HZ) / _SLANEY_BREAK_HZ) / _SLANEY_LOG_STEP
    )
    return np.where(hz < _SLANEY_BREAK_HZ, hz / _SLANEY_HZ_PER_MEL, log_part)


def _mel_to_hz(mel: np.ndarray, scale: MelScale) -> np.ndarray:
    if scale == "htk":
        return 700.0 * (10.0 ** (mel / 2595.0) - 1.0)
    break_mel = _SLANEY_BREAK_HZ / _SLANEY_HZ_PER_MEL
    log_part = _SLANEY_BREAK_HZ * np.exp(_SLANEY_LOG_STEP * np.maximum(mel - break_mel, 0.0))
    return np.where(mel < break_mel, mel * _SLANEY_HZ_PER_MEL, log_part)


@lru_cache(maxsize=128)
def _window(n_fft: int, device: torch.device) -> Tensor:
    """Periodic Hann window `[n_fft]` of unit energy."""
    window = np.hanning(n_fft + 1)[:-1]
    return _constant(window / np.sqrt(np.sum(window**2)), device)


@lru_cache(maxsize=128)
def _filters_on(
    device: torch.device,
    sample_rate: int,
    n_fft: int,
    n_mels: int,
    f_min: float,
    f_max: float,
    mel_scale: MelScale,
) -> Tensor:
    filters = mel_filters(
        sample_rate=sample_rate,
        n_fft=n_fft,
        n_mels=n_mels,
        f_min=f_min,
        f_max=f_max,
        mel_scale=mel_scale,
    )
    return _constant(filters, device)


def _constant(values: np.ndarray, device: torch.device) -> Tensor:
    # A tensor made inside inference mode could not be used in a backward pass later.
    with torch.inference_mode(False):
        return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32)).to(device)
