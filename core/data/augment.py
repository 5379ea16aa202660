"""Rooms, noise and low bit rates: augmentation of training audio, as a function of a generator.

Speed and level are varied by ``vary`` and ``gain_db`` of ``DataConfig``. Waveforms keep their
length and place in time. Shapes: ``S`` samples.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import soundfile

from ..audio import Waveform, resample
from ..levels import measure_levels, normalize_loudness

NoiseSource = Callable[[int, np.random.Generator], Waveform]  # samples, generator -> [S]

# Of a room: time until the reverberation has fallen by 60 dB, its first sample, and the energy of
# the direct sound relative to it.
_DECAY_SECONDS = (0.1, 0.7)
_FIRST_SECONDS = (0.002, 0.02)
_DIRECT_DB = (0.0, 15.0)
# Exponents of the spectra of coloured noise: power falls with frequency to this power.
_COLOURS = (0.0, 2.0)
# Rates of Opus, the widest bit rates of libsndfile, and those that are drawn.
_OPUS_RATES = (8_000, 12_000, 16_000, 24_000, 48_000)
_OPUS_RANGE = (6_000, 256_000)
_BIT_RATES = (8_000, 32_000)
_WRITE_FRAMES = 4096


@dataclass(frozen=True)
class Scene:
    """What the augmentations depend on besides the waveform.

    Attributes:
        sample_rate: In Hz.
        snr_db: Range of the level of the waveform above the noise.
        noise: Gives noise of a length; coloured noise by default.
    """

    sample_rate: int
    snr_db: tuple[float, float] = (5.0, 30.0)
    noise: NoiseSource | None = None


def augment(
    wav: Waveform, shares: Mapping[str, float], scene: Scene, rng: np.random.Generator
) -> Waveform:
    """Augment a waveform [S]; each augmentation is applied with its own probability.

    Args:
        wav: Not changed.
        shares: Probability by name of ``AUGMENTATIONS``; applied in their order there.
        scene: Sample rate, noise.
        rng: Source of all random choices.

    Returns:
        Float32 [S] at the level of `wav`.
    """
    level = measure_levels(wav, scene.sample_rate).active_dbfs
    for name, apply in AUGMENTATIONS.items():
        if rng.random() < shares.get(name, 0.0) and np.any(wav):
            wav = apply(wav, scene, rng)
            now = measure_levels(wav, scene.sample_rate).active_dbfs
            wav = normalize_loudness(level, wav, now) if np.any(wav) else wav
    return wav


def check_shares(shares: Mapping[str, float]) -> None:
    """Check names and probabilities.

    Raises:
        ValueError: A name is unknown, or a probability is not in [0, 1].
    """
    for name, share in shares.items():
        if name not in AUGMENTATIONS:
            raise ValueError(
                f"augment must have probabilities of {', '.join(AUGMENTATIONS)}, got {name!r}"
            )
        if isinstance(share, bool) or not isinstance(share, int | float) or not 0 <= share <= 1:
            raise ValueError(f"the probability of {name!r} must lie in [0, 1], got {share!r}")


def coloured_noise(count: int, exponent: float, rng: np.random.Generator) -> Waveform:
    """Gaussian noise [S] of RMS 1 whose power falls with frequency to a power: 0 white, 1 pink."""
    spectrum = np.fft.rfft(rng.standard_normal(count))
    spectrum *= np.maximum(np.arange(len(spectrum)), 1.0) ** (-exponent / 2)
    spectrum[0] = 0.0
    wav = np.fft.irfft(spectrum, count)
    return (wav / max(1e-9, math.sqrt(float(np.mean(wav**2))))).astype(np.float32)


def _room(wav: Waveform, scene: Scene, rng: np.random.Generator) -> Waveform:
    """Direct sound and an exponentially decaying tail of noise."""
    decay, first = rng.uniform(*_DECAY_SECONDS), rng.uniform(*_FIRST_SECONDS)
    count = round(decay * scene.sample_rate)
    tail = coloured_noise(count, 1.0, rng) * 10 ** (-3 * np.arange(count) / count)
    tail *= 10 ** (-rng.uniform(*_DIRECT_DB) / 20) / math.sqrt(float(np.sum(tail**2)))
    response = np.concatenate([[1.0], np.zeros(round(first * scene.sample_rate)), tail])
    size = len(wav) + len(response) - 1
    heard = np.fft.irfft(np.fft.rfft(wav, size) * np.fft.rfft(response, size), size)
    return heard[: len(wav)].astype(np.float32)


def _noise(wav: Waveform, scene: Scene, rng: np.random.Generator) -> Waveform:
    """Noise at a signal-to-noise ratio, of the source of the scene or coloured."""
    noise = None if scene.noise is None else scene.noise(len(wav), rng)
    if noise is None or not np.any(noise):
        noise = coloured_noise(len(wav), rng.uniform(*_COLOURS), rng)
    wanted = measure_levels(wav, scene.sample_rate).active_dbfs - rng.uniform(*scene.snr_db)
    now = measure_levels(noise, scene.sample_rate).active_dbfs
    return wav + noise * np.float32(10 ** ((wanted - now) / 20))


def _opus(wav: Waveform, scene: Scene, rng: np.random.Generator) -> Waveform:
    """Opus at 8 to 32 kbit/s; the result has the same place in time."""
    rate = scene.sample_rate if scene.sample_rate in _OPUS_RATES else 24_000
    bits = math.exp(rng.uniform(*np.log(_BIT_RATES)))
    low, high = _OPUS_RANGE
    samples, buffer = resample(wav, scene.sample_rate, rate), io.BytesIO()
    level = (high - bits) / (high - low)
    with soundfile.SoundFile(
        buffer, "w", rate, 1, subtype="OPUS", format="OGG", compression_level=level
    ) as file:
        for first in range(0, len(samples), _WRITE_FRAMES):
            file.write(np.clip(samples[first : first + _WRITE_FRAMES], -1.0, 1.0))
    buffer.seek(0)
    decoded = soundfile.read(buffer, dtype="float32")[0]
    heard = resample(decoded, rate, scene.sample_rate)
    result = np.zeros_like(wav)
    result[: len(heard)] = heard[: len(wav)]
    return result


AUGMENTATIONS: dict[str, Callable[[Waveform, Scene, np.random.Generator], Waveform]] = {
    "room": _room,
    "noise": _noise,
    "opus": _opus,
}
