"""What a tune has in common with another one: pitch classes, key, onsets and tempo.

Shapes: S samples, N frames, F frequency bins.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .spectral import log_mel, magnitude_blocks

Array = npt.NDArray[np.float64]

NAMES = ("C", "C sharp", "D", "E flat", "E", "F", "F sharp", "G", "A flat", "A", "B flat", "B")
_OTHER_NAMES = {"D flat": 1, "D sharp": 3, "G flat": 6, "G sharp": 8, "A sharp": 10}
_FRAME_SECONDS, _HOP_SECONDS = 0.35, 0.05  # of chroma: a semitone at 110 Hz is 6.5 Hz wide
_LOWEST, _HIGHEST = 110.0, 1760.0  # Hz, four octaves from A2
_QUIET_DB = -40.0  # frames further below the loudest one do not count
_MEL_HOP = 256  # samples of `log_mel`
_FLUX_THRESHOLD = 0.15  # of the largest flux
_TEMPO = (40.0, 240.0)  # beats per minute
# Probe-tone ratings of Krumhansl and Kessler (1982), from the tonic.
_MAJOR = (6.35, 2.23, 3.48, 2.33, 4.38, 4.09, 2.52, 5.19, 2.39, 3.66, 2.29, 2.88)
_MINOR = (6.33, 2.68, 3.52, 5.38, 2.60, 3.53, 2.54, 4.75, 3.98, 2.69, 3.34, 3.17)


@dataclass(frozen=True)
class Tune:
    """Features of a tune.

    Attributes:
        chroma: share of each pitch class from C, [12]; zeros of silence.
        onset_rate: onsets per second.
        tempo: beats per minute; half and double are often taken for one another.
    """

    chroma: tuple[float, ...]
    onset_rate: float
    tempo: float

    @property
    def key(self) -> str:
        """The likeliest key, such as "B flat minor"; "" of silence."""
        return likeliest_key(np.asarray(self.chroma))


def measure_tune(wav: npt.ArrayLike, sample_rate: int) -> Tune:
    """Measure samples [S], at least one."""
    samples = np.asarray(wav, np.float64).ravel()
    flux = onset_strength(samples, sample_rate)
    seconds = samples.size / sample_rate
    shares = chroma(samples, sample_rate)
    rate = count_onsets(flux, sample_rate) / seconds
    return Tune(tuple(shares.round(5).tolist()), round(rate, 3), round(tempo(flux, sample_rate), 1))


def chroma(wav: Array, sample_rate: int) -> Array:
    """Share of each pitch class, [12], from C: means over the frames that are not quiet."""
    n_fft = 1 << round(np.log2(_FRAME_SECONDS * sample_rate))
    spectrum = np.concatenate(list(magnitude_blocks(wav, n_fft, round(_HOP_SECONDS * sample_rate))))
    hz = np.fft.rfftfreq(n_fft, 1 / sample_rate)
    inside = (hz >= _LOWEST * 2 ** (-1 / 24)) & (hz < _HIGHEST * 2 ** (-1 / 24))
    hz = hz[inside]
    spectrum = spectrum[:, inside] / hz  # a semitone has the more bins the higher it is
    power = (spectrum**2).sum(axis=1)
    spectrum = spectrum[power > power.max(initial=0.0) * 10 ** (_QUIET_DB / 10)]
    if not len(spectrum):
        return np.zeros(12)
    classes = np.round(12 * np.log2(hz / 440.0) + 9).astype(int) % 12  # A is 9 from C
    frames = np.stack([spectrum[:, classes == number].sum(axis=1) for number in range(12)], axis=1)
    shares: Array = (frames / frames.sum(axis=1, keepdims=True)).mean(axis=0)
    return shares


def likeliest_key(shares: Array) -> str:
    """Key whose profile correlates best with pitch classes [12] (Krumhansl, Schmuckler)."""
    if not shares.any():
        return ""
    scores = {
        f"{NAMES[tonic]} {mode}": correlation(shares, np.roll(profile, tonic))
        for mode, profile in (("major", _MAJOR), ("minor", _MINOR))
        for tonic in range(12)
    }
    return max(scores, key=lambda name: scores[name])


def key_of_text(text: str) -> str:
    """The key that a caption names, such as "B flat minor"; "" without one.

    Example:
        >>> key_of_text("A slow waltz, in Bb minor.")
        'B flat minor'
    """
    match = re.search(r"\bin ([A-G])(?:([#b♯♭])|[ -](flat|sharp))? (major|minor)\b", text)
    if match is None:
        return ""
    sign = {"#": "sharp", "♯": "sharp", "b": "flat", "♭": "flat"}.get(match[2], match[3])
    name = match[1] if sign is None else f"{match[1]} {sign}"
    if name in _OTHER_NAMES:
        name = NAMES[_OTHER_NAMES[name]]
    return f"{name} {match[4]}" if name in NAMES else ""


def onset_strength(wav: Array, sample_rate: int) -> Array:
    """Spectral flux per frame of `_MEL_HOP` samples: rise of the log-mel spectrum in dB, [N]."""
    levels = log_mel(wav, sample_rate)  # [N, M]
    return np.maximum(0.0, np.diff(levels, axis=0, prepend=levels[:1])).mean(axis=1)


def count_onsets(flux: Array, sample_rate: int) -> int:
    """Peaks of the flux [N] over 0.1 s that stand out from their second."""
    if flux.max(initial=0.0) < 1.0:  # dB: steady sound, or silence
        return 0
    near = max(1, round(0.05 * sample_rate / _MEL_HOP))
    wide = max(1, round(0.5 * sample_rate / _MEL_HOP))
    windows = np.lib.stride_tricks.sliding_window_view
    padded = np.pad(flux, near)
    highest = windows(padded, 2 * near + 1).max(axis=1)
    means = windows(np.pad(flux, wide, mode="edge"), 2 * wide + 1).mean(axis=1)
    return int(((flux == highest) & (flux > means + _FLUX_THRESHOLD * flux.max())).sum())


def tempo(flux: Array, sample_rate: int) -> float:
    """Tempo in beats per minute of a flux [N], by autocorrelation; 0 without a beat."""
    rate = sample_rate / _MEL_HOP
    shortest, longest = round(60 * rate / _TEMPO[1]), round(60 * rate / _TEMPO[0])
    centred = flux - flux.mean() if flux.size else flux
    if flux.size < 2 * shortest or not centred.any():
        return 0.0
    size = 1 << int(np.ceil(np.log2(2 * flux.size)))
    power = np.fft.irfft(np.abs(np.fft.rfft(centred, size)) ** 2)
    lags = np.arange(shortest, min(longest, flux.size - 1) + 1)
    # Each lag by its number of products, and weighted towards 120 beats (Ellis 2007).
    scores = power[lags] / (flux.size - lags)
    scores = scores * np.exp(-0.5 * np.log2(60 * rate / lags / 120.0) ** 2)
    return float(60 * rate / lags[scores.argmax()])


def correlation(a: npt.ArrayLike, b: npt.ArrayLike) -> float:
    """Pearson correlation of two vectors; 0 if one is constant."""
    x, y = np.asarray(a, np.float64), np.asarray(b, np.float64)
    x, y = x - x.mean(), y - y.mean()
    size = float(np.linalg.norm(x) * np.linalg.norm(y))
    return float(x @ y) / size if size > 0 else 0.0


def rate_octaves(a: float, b: float) -> float:
    """Distance of two onset rates in octaves, at most 4; of 0 as of 0.1 per second."""
    return min(4.0, abs(float(np.log2(max(a, 0.1) / max(b, 0.1)))))


def tempo_octaves(a: float, b: float) -> float:
    """Distance of two tempi in octaves, 0 to 0.5: half and double are equal; 0.5 without one."""
    if a <= 0 or b <= 0:
        return 0.5
    away = float(np.log2(a / b)) % 1.0
    return min(away, 1.0 - away)
