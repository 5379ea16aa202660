"""Loudness loss (`loudness` in configs and logs): how much an ear would notice (ours, D).

A log-mel distance counts every band alike. An ear does not: what lies below its threshold is
nothing, a loud band counts by its loudness and not by its decibels, a few bad moments are
remembered, and what is *added* annoys more than what is missing. That is the model of perceptual
evaluation of speech quality (PESQ, ITU-T P.862; Rix et al., ICASSP 2001; as a loss: Martin-Donas et
al., "A deep learning loss function based on the perceptual evaluation of the speech quality",
2018). Here it is a differentiable form on evenly spaced Bark bands, with formulas in the place of
the recommendation's tables.

PESQ forgives what a telephone line does: another level, a filter, a gain that comes and goes, a
delay. Here nothing is forgiven. A codec that trained 800 steps with the forgiving form found out
how to make the *recording* look like its own mean spectrum: the loss fell from 3.4 to 2.4 on one
voice while PESQ fell from 1.21 to 1.09. Without, both move together (correlation 0.95 over those
steps, clip by clip).

A codec that was trained with it should not be praised for its PESQ alone; other scores (STOI,
pitch, words of a recogniser) say whether it became better or only better at this.

Letters: `B` batch, `S` samples, `L` frames, `F` frequency bins, `M` bands.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor, nn

from .spectrum import magnitude

_WINDOW_SECONDS = 0.032  # half of it from frame to frame
_LOWEST_HZ, _HIGHEST_HZ = 80.0, 8_000.0
_NUM_BANDS = 48
# Between these frequencies the recording is brought to this level, in dB: loud speech at the ear of
# the model. What lies below, such as rumble, should not decide how loud a voice is.
_LEVEL_HZ, _LEVEL_DB = (325.0, 3_250.0), 92.0
# Power of loudness (Stevens; Zwicker and Fastl, "Psychoacoustics").
_EXPONENT = 0.23
_QUIET_POWER = 1e-8  # mean square of what is taken for silence
# A difference below this share of the softer of the two is not heard.
_DEAD_ZONE = 0.25
# The recommendation cuts a frame's disturbance here. Four of ten frames of a codec of 400 bit/s lie
# above it in what is added, and would teach nothing: so it bends instead.
_BOUND, _BENT = 45.0, 1.2
# Moments: norm over so many frames, which overlap by a half.
_MOMENT_FRAMES, _MOMENT_NORM = 20, 6.0
_SYMMETRIC, _ASYMMETRIC = 0.1, 0.0309


class LoudnessLoss(nn.Module):
    """Disturbance of the model of PESQ, in points of its raw score: 0 is equal, 4 is another sound.

    Example:
        >>> import torch
        >>> wav = torch.randn(2, 1, 24_000)
        >>> float(LoudnessLoss(24_000)(wav, wav)) < 1e-3
        True
    """

    def __init__(self, sample_rate: int):
        super().__init__()
        if sample_rate < 2 * _HIGHEST_HZ:
            raise ValueError(
                f"the sample rate of the loudness loss must be {2 * _HIGHEST_HZ:.0f} Hz or more,"
                f" got {sample_rate}"
            )
        self.sample_rate = sample_rate
        self.hop_length = round(_WINDOW_SECONDS * sample_rate / 2)

    def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Compare `[B, 1, S]` with `[B, 1, S]`; a scalar in float32, target without gradient."""
        if prediction.shape != target.shape:
            raise ValueError(
                f"both waveforms must have one shape [B, 1, S], got {list(prediction.shape)}"
                f" and {list(target.shape)}"
            )
        with torch.autocast(device_type=prediction.device.type, enabled=False):
            with torch.no_grad():
                wanted = self._bands(target)  # [B, L, M]
                gain = self._gain(wanted)
            made = self._bands(prediction)
            symmetric, added = self._disturbances(made * gain, wanted * gain)
            return (_SYMMETRIC * symmetric + _ASYMMETRIC * added).mean()

    def _bands(self, wav: Tensor) -> Tensor:
        """Power in Bark bands `[B, L, M]` of waveforms `[B, 1, S]`."""
        power = magnitude(wav, 2 * self.hop_length, self.hop_length).square()
        return power @ self._table(wav).filters

    def _gain(self, bands: Tensor) -> Tensor:
        """Factor `[B, 1, 1]` that brings powers `[B, L, M]` to the level of the model."""
        mean = (bands * self._table(bands).levelled).sum(dim=-1).mean(dim=1)
        return 10 ** (_LEVEL_DB / 10) / mean.clamp_min(_QUIET_POWER)[:, None, None]

    def _disturbances(self, made: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
        """How much differs, and how much was added, each `[B]`, of powers `[B, L, M]`."""
        threshold = self._table(made).threshold
        loud, wanted_loud = _loudness(made, threshold), _loudness(wanted, threshold)
        softer = torch.minimum(loud, wanted_loud)
        noticed = ((loud - wanted_loud).abs() - _DEAD_ZONE * softer).clamp_min(0)  # [B, L, M]
        width = _bark_width()
        # The constant keeps the root's gradient finite where nothing differs.
        symmetric = (_NUM_BANDS * width**3 * (noticed.square().sum(dim=-1) + 1e-12)).sqrt()
        ratio = ((made + 50) / (wanted + 50)) ** 1.2
        factor = torch.where(ratio < 3, 0.0, ratio.clamp_max(12)).detach()
        added = width * (noticed * factor).sum(dim=-1)
        weight = ((wanted.sum(dim=-1) + 1e5) / 1e7) ** 0.04  # silence forgives less
        return _remembered(symmetric / weight), _remembered(added / weight)

    def _table(self, like: Tensor) -> _Table:
        return _table(self.sample_rate, 2 * self.hop_length, like.device)


@dataclass(frozen=True)
class _Table:
    """What follows from the sample rate."""

    filters: Tensor  # [F, M], bins to band powers, by the share of a bin that lies in a band
    threshold: Tensor  # [M], power at the threshold of hearing
    levelled: Tensor  # [M], 1 for bands that say how loud a recording is, else 0


def _loudness(power: Tensor, threshold: Tensor) -> Tensor:
    """Sone per Bark, up to a factor, of band powers (Zwicker's law)."""
    heard = (0.5 + 0.5 * power / threshold).clamp_min(1.0) ** _EXPONENT - 1
    return 0.187 * (2 * threshold) ** _EXPONENT * heard


def _remembered(disturbance: Tensor) -> Tensor:
    """Frames `[B, L]` to one number `[B]`: the worst frames of each moment, then all moments."""
    share = disturbance / _BOUND
    bounded = _BENT * share * (1 + share.square()).rsqrt()  # below 1.2
    frames = min(_MOMENT_FRAMES, bounded.shape[1])
    moments = bounded.unfold(1, frames, max(1, frames // 2))  # [B, n, frames]
    worst = ((moments + 1e-6) ** _MOMENT_NORM).mean(dim=-1) ** (1 / _MOMENT_NORM) - 1e-6
    return _BOUND * ((worst.square().mean(dim=-1) + 1e-12).sqrt() - 1e-6)


def _to_bark(hz: np.ndarray) -> np.ndarray:
    """Traunmueller's formula (1990)."""
    return 26.81 * hz / (1960 + hz) - 0.53


def _bark_width() -> float:
    low, high = _to_bark(np.array([_LOWEST_HZ, _HIGHEST_HZ]))
    return float(high - low) / _NUM_BANDS


def _threshold(hz: np.ndarray) -> np.ndarray:
    """Power at the threshold of hearing (Terhardt's formula, 1979)."""
    khz = hz / 1000
    decibels = 3.64 * khz**-0.8 - 6.5 * np.exp(-0.6 * (khz - 3.3) ** 2) + 1e-3 * khz**4
    return 10 ** (decibels / 10)


@lru_cache(maxsize=16)
@torch.inference_mode(False)
def _table(sample_rate: int, n_fft: int, device: torch.device) -> _Table:
    low_edge, high_edge = _to_bark(np.array([_LOWEST_HZ, _HIGHEST_HZ]))
    edges = np.linspace(float(low_edge), float(high_edge), _NUM_BANDS + 1)
    hz = 1960 * (edges + 0.53) / (26.28 - edges)
    centres = (hz[:-1] + hz[1:]) / 2
    spacing = sample_rate / n_fft
    bins = np.arange(n_fft // 2 + 1)[:, None] * spacing  # [F, 1]
    low, high = np.maximum(bins - spacing / 2, hz[:-1]), np.minimum(bins + spacing / 2, hz[1:])
    share = np.maximum(high - low, 0.0) / spacing
    levelled = (centres > _LEVEL_HZ[0]) & (centres < _LEVEL_HZ[1])
    columns = (share * 2 / n_fft, _threshold(centres), levelled)
    return _Table(*(torch.from_numpy(one.astype(np.float32)).to(device) for one in columns))
