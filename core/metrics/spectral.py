"""Distances between spectra: log-mel in dB, and the multi-scale STFT distance of DAC.

Frames are processed in blocks, so the memory does not depend on the duration.
Shapes: N frames, F frequency bins, M mel bands.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

MEL_FFT = 1024
MEL_HOP = 256
MEL_BANDS = 80
# A full-scale sine is 0 dB. Bands below -80 dBFS are inaudible beside speech; without the floor,
# the exact level of the empty bands of narrow-band codecs would dominate.
MEL_FLOOR_DB = -80.0
# Window lengths and clamp of DAC's MultiScaleSTFTLoss.
STFT_WINDOWS = (2048, 512)
STFT_CLAMP = 1e-5
_BLOCK = 2048


@lru_cache(maxsize=16)
def hann(size: int) -> Array:
    """Periodic Hann window of ``size`` samples."""
    return 0.5 - 0.5 * np.cos(2.0 * np.pi * np.arange(size) / size)


@lru_cache(maxsize=16)
def mel_filters(sample_rate: int, n_fft: int, bands: int) -> Array:
    """Triangular filters [F, M] on the HTK mel scale from 0 Hz to half the rate, peak 1."""
    top = 2595.0 * np.log10(1.0 + sample_rate / 2.0 / 700.0)
    edges = 700.0 * (10.0 ** (np.linspace(0.0, top, bands + 2) / 2595.0) - 1.0)
    bins = np.arange(n_fft // 2 + 1) * sample_rate / n_fft
    rise = (bins[:, None] - edges[:-2]) / (edges[1:-1] - edges[:-2])
    fall = (edges[2:] - bins[:, None]) / (edges[2:] - edges[1:-1])
    return np.maximum(0.0, np.minimum(rise, fall))


def magnitude_blocks(wav: npt.ArrayLike, n_fft: int, hop: int) -> Iterator[Array]:
    """Yield magnitudes [n, F] of a centred, Hann-windowed STFT, at most 2048 frames at a time."""
    samples = np.asarray(wav, dtype=np.float64)
    half = n_fft // 2
    # Reflection needs more samples than it adds; shorter clips are padded with zeros.
    padded = np.pad(samples, half, mode="reflect" if samples.size > half else "constant")
    frames = np.lib.stride_tricks.sliding_window_view(padded, n_fft)[::hop]
    for start in range(0, len(frames), _BLOCK):
        yield np.abs(np.fft.rfft(frames[start : start + _BLOCK] * hann(n_fft), axis=1))


def _mel_db(magnitude: Array, filters: Array) -> Array:
    # A full-scale sine has the magnitude sum(window) / 2 in its bin.
    power = (magnitude / (MEL_FFT / 4.0)) ** 2 @ filters
    return 10.0 * np.log10(np.maximum(power, 10.0 ** (MEL_FLOOR_DB / 10.0)))


def log_mel(wav: npt.ArrayLike, sample_rate: int) -> Array:
    """Log-mel spectrogram [N, 80] in dB re a full-scale sine: window 1024, hop 256, floor -80."""
    filters = mel_filters(sample_rate, MEL_FFT, MEL_BANDS)
    return np.concatenate([_mel_db(m, filters) for m in magnitude_blocks(wav, MEL_FFT, MEL_HOP)])


def mel_distance(
    reference: npt.ArrayLike,
    estimate: npt.ArrayLike,
    sample_rate: int,
    *,
    highest_hz: float | None = None,
) -> float:
    """Mean absolute difference of two log-mel spectrograms, in dB (lower is better).

    Args:
        reference: original [S].
        estimate: reconstruction [S], aligned with it.
        sample_rate: of both; 24,000 in the tables of this project.
        highest_hz: use only the bands up to this frequency, for narrow-band codecs.
    """
    filters = mel_filters(sample_rate, MEL_FFT, MEL_BANDS)
    if highest_hz is not None:
        bins = np.arange(MEL_FFT // 2 + 1) * sample_rate / MEL_FFT
        filters = filters[:, ~(filters[bins > highest_hz] > 0).any(axis=0)]
    total, count = 0.0, 0
    for left, right in zip(
        magnitude_blocks(reference, MEL_FFT, MEL_HOP),
        magnitude_blocks(estimate, MEL_FFT, MEL_HOP),
        strict=True,
    ):
        difference = np.abs(_mel_db(left, filters) - _mel_db(right, filters))
        total, count = total + float(difference.sum()), count + difference.size
    return total / count


def stft_distance(reference: npt.ArrayLike, estimate: npt.ArrayLike) -> float:
    """Multi-scale STFT distance like that of DAC (lower is better).

    Over windows 2048 and 512 with a quarter as hop, summed: the mean of ``|log10 X^2 - log10 Y^2|``
    on magnitudes clamped at 1e-5, plus the mean of ``|X - Y|``.
    """
    distance = 0.0
    for size in STFT_WINDOWS:
        total, count = 0.0, 0
        for left, right in zip(
            magnitude_blocks(reference, size, size // 4),
            magnitude_blocks(estimate, size, size // 4),
            strict=True,
        ):
            logs = np.log10(np.maximum(left, STFT_CLAMP)) - np.log10(np.maximum(right, STFT_CLAMP))
            total += float((2.0 * np.abs(logs) + np.abs(left - right)).sum())
            count += left.size
        distance += total / count
    return distance
