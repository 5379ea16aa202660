"""Building blocks of synthetic audio: noise bands, envelopes, harmonics. ``S`` samples."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def times(seconds: float, sample_rate: int) -> Floats:
    """Points in time [S] in seconds."""
    return np.arange(round(seconds * sample_rate)) / sample_rate


def band_noise(
    rng: np.random.Generator, size: int, sample_rate: int, low: float, high: float
) -> Floats:
    """Gaussian noise [S] between two frequencies in Hz with 24 dB per octave beyond, RMS 1."""
    spectrum = np.fft.rfft(rng.standard_normal(max(2, size)))
    frequency = np.fft.rfftfreq(max(2, size), 1 / sample_rate)
    rise = np.maximum(frequency, 1e-9) / max(low, 1e-9)
    spectrum *= 1 / np.sqrt((1 + rise**-8) * (1 + (frequency / high) ** 8))
    wav = np.fft.irfft(spectrum, max(2, size))[:size]
    return wav / max(1e-9, float(np.sqrt(np.mean(wav**2))))


def slow_noise(rng: np.random.Generator, size: int, sample_rate: int, hertz: float) -> Floats:
    """A random curve [S] between 0 and 1 that changes about ``hertz`` times a second."""
    points = max(2, round(size / sample_rate * hertz) + 2)
    return np.interp(np.linspace(0, points - 1, size), np.arange(points), rng.random(points))


def decay(time: Floats, attack: float, fall: float) -> Floats:
    """Linear attack, then exponential fall with the time constant ``fall``; seconds."""
    return np.minimum(1.0, time / max(attack, 1e-6)) * np.exp(-np.maximum(0, time - attack) / fall)


def harmonics(pitch: Floats, levels: list[float], sample_rate: int) -> Floats:
    """A tone [S] of a pitch curve [S] in Hz; levels of its 1st, 2nd, ... harmonic."""
    first = np.exp(2j * np.pi * np.cumsum(pitch) / sample_rate)
    turning = np.ones_like(first)  # its powers: four times faster than a sine for each harmonic
    wav = np.zeros(len(pitch))
    for number, level in enumerate(levels, start=1):
        turning *= first
        wav += level * turning.imag * (number * pitch < 0.45 * sample_rate)
    return wav


def place(target: Floats, sound: Floats, begin: float, sample_rate: int, gain: float = 1.0) -> None:
    """Add a sound to a longer one at a time in seconds; the end is cut off."""
    first = round(begin * sample_rate)
    part = sound[: max(0, len(target) - first)]
    target[first : first + len(part)] += gain * part


def faded(wav: Floats, sample_rate: int, seconds: float = 0.01) -> Floats:
    """Fade both ends."""
    size = min(round(seconds * sample_rate), len(wav) // 2)
    ramp = np.linspace(0, 1, size, endpoint=False)
    result = wav.copy()
    result[:size] *= ramp
    result[len(wav) - size :] *= ramp[::-1]
    return result
