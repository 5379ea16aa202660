"""Harmonic-plus-noise vocoder: filtered pulses at the predicted pitch, and filtered noise.

    frames [B,T,D] -> pitch [B,T,P], bands [B,T,2,M] -> pulses, noise [B,T,hop] -> filters -> wav

A mirror of Patchify must continue the phase of a voice from frame to frame, which small models
trained by spectral losses do not learn: they repeat one waveform and buzz at the frame rate. Here
the phase is the integral of the pitch, and the network predicts pitch and spectral envelopes only
(harmonic plus noise model, Serra and Smith 1990; minimum-phase filters as in homomorphic vocoders).
Not part of the paper: ours (D).

The phase is an integer, so streams, whole recordings and batches have equal phases; they differ
only where two pitches are equally likely within rounding.

Shapes: `B` batch, `T` frames, `D` width, `P` pitches, `M` bands, `F` frequency bins.
"""

from __future__ import annotations

import math
from contextlib import nullcontext
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..core.linear import Linear
from .config import ALMTokenizerConfig
from .streaming import StreamingModule

LOWEST_HZ, HIGHEST_HZ = 50.0, 550.0
# Number of frames whose pitches are averaged: finer steps than the table, a smoother contour.
SMOOTHED = 3
# Phase units per cycle, as int32: it overflows after two cycles, the period of the sine of half a
# phase.
_CYCLE = 2**31
_NOISE_SAMPLES = 2**16
_LOUDEST = 4.0
_NEIGHBOURS = 4  # bands on each side that HarmonicVocoder.sharpen averages


@dataclass(frozen=True)
class VocoderParameters:
    """Parameters of pulses and noise, float32."""

    pitch: Tensor  # [B, T, P] logits
    bands: Tensor  # [B, T, 2, M] log magnitudes of the filter of pulses, and of noise


@dataclass(frozen=True)
class HarmonicState:
    """State between two steps of a stream."""

    position: Tensor  # [B] int64, frames so far
    phase: Tensor  # [B] int32, of the last sample, in parts of a cycle
    pitches: Tensor  # [B, SMOOTHED] int64, indices into the pitch table, of the last frames
    bands: Tensor  # [B, 1, 2, M], of the last frame
    tails: Tensor  # [B, 2, n], filter outputs of the last two frames, see overlap_add


class HarmonicVocoder(StreamingModule):
    """Filters pulses and noise by the envelopes predicted from frames; causal, no look-ahead."""

    def __init__(self, config: ALMTokenizerConfig):
        super().__init__()
        self.hop_length = config.hop_length
        self.sample_rate = config.sample_rate
        self.num_pitches = config.num_pitches
        self.num_bands = config.harmonic_bands
        self.n_fft = 2 * round(1.2 * config.hop_length)  # a hop and the tail of a filter
        self.inner = Linear(config.hidden_size, config.hidden_size)
        self.outer = Linear(config.hidden_size, self.num_pitches + 2 * self.num_bands)

    @torch.no_grad()
    def initialize(self, wav: Tensor) -> None:
        """Initialize with the mean spectrum of `[B, 1, S]`, half pulses and half noise."""
        window = torch.hann_window(self.n_fft, device=wav.device)
        window /= window.square().sum().sqrt()
        spectrum = torch.fft.rfft(wav.float().unfold(-1, self.n_fft, self.n_fft) * window).abs()
        mean = (spectrum + 1e-4).log().flatten(0, -2).mean(dim=0)  # [F]
        centres = torch.from_numpy(band_centres(self.num_bands, self.sample_rate))
        bins = (centres * self.n_fft / self.sample_rate).round().long().to(wav.device)
        self.outer.weight[self.num_pitches :].mul_(0.1)
        self.outer.bias[self.num_pitches :] = (mean[bins] - 0.5 * math.log(2)).repeat(2)

    @torch.no_grad()
    def sharpen(self, amount: float, gain_db: float = 0.0) -> None:
        """Sharpen envelopes: add `amount` times the difference to the mean of the neighbours.

        Spectral distances are minimal for oversmoothed predictions, so trained envelopes are too
        flat (cf. global variance in parametric synthesis, Toda and Tokuda 2007). Bands are a linear
        map of the features, so the sharper bands are one too, and only weights change. The level
        rises, since peaks carry most of the power; `gain_db` compensates.

        Raises:
            ValueError: The amount is negative, or a number is not finite.
        """
        if not 0 <= amount < math.inf:
            raise ValueError(f"the amount must be finite and at least 0, got {amount}")
        if not math.isfinite(gain_db):
            raise ValueError(f"the gain must be a finite number of dB, got {gain_db}")
        count = self.num_bands
        bands = torch.eye(count, dtype=torch.float64)  # on the CPU: not every device has float64
        padded = F.pad(bands[None], (_NEIGHBOURS, _NEIGHBOURS), mode="replicate")
        # Row i is the response to a unit impulse in band i: the transpose maps predicted bands.
        blurred = F.avg_pool1d(padded, 2 * _NEIGHBOURS + 1, stride=1)[0]
        mixed = ((1 + amount) * bands - amount * blurred).T  # [M, M]
        for parameter in (self.outer.weight, self.outer.bias):
            for part in parameter[self.num_pitches :].split(count):  # pulses, noise
                part.copy_(mixed @ part.cpu().double())
        self.outer.bias[self.num_pitches :] += gain_db * math.log(10) / 20

    def predict(self, frames: Tensor) -> VocoderParameters:
        """Predict pitch and bands from frames `[B, T, D]`."""
        with nullcontext() if frames.is_meta else torch.autocast(frames.device.type, enabled=False):
            output = self.outer(F.elu(self.inner(frames.to(self.inner.weight.dtype)))).float()
        pitch, bands = output.split([self.num_pitches, 2 * self.num_bands], dim=-1)
        return VocoderParameters(pitch, bands.unflatten(-1, (2, self.num_bands)))

    def step(self, x: Tensor, state: HarmonicState | None) -> tuple[Tensor, HarmonicState]:
        """Map frames `[B, T, D]` to a waveform `[B, 1, T * hop]`."""
        return self.synthesize(self.predict(x), state)

    def synthesize(
        self, parameters: VocoderParameters, state: HarmonicState | None = None
    ) -> tuple[Tensor, HarmonicState]:
        """Synthesize the waveform `[B, 1, T * hop]` of the parameters."""
        places = parameters.pitch.argmax(dim=-1)  # [B, T]
        if state is None:
            state = self._initial_state(places, parameters.bands)
        pulses, phase, pitches = self._pulses(places, state)
        sources = torch.stack([pulses, self._noise(pulses, state.position)], dim=2)
        bands = torch.cat([state.bands, parameters.bands], dim=1)  # [B, 1 + T, 2, M]
        filtered = self._filter(sources, bands)  # [B, T, n_fft]
        wav, tails = overlap_add(filtered, state.tails, self.hop_length)
        position = state.position + places.shape[1]
        return wav, HarmonicState(position, phase, pitches, bands[:, -1:], tails)

    def _initial_state(self, places: Tensor, bands: Tensor) -> HarmonicState:
        """State before the first frame: its own pitch and bands as history, and silence."""
        batch = places.shape[0]
        return HarmonicState(
            position=places.new_zeros(batch),
            phase=places.new_zeros(batch, dtype=torch.int32),
            pitches=places[:, :1].expand(batch, SMOOTHED),
            bands=bands[:, :1],
            tails=bands.new_zeros(batch, 2, self.n_fft),
        )

    def _pulses(self, places: Tensor, state: HarmonicState) -> tuple[Tensor, Tensor, Tensor]:
        """Band-limited pulses of unit power `[B, T, hop]`, the last phase and the last pitches."""
        all_places = torch.cat([state.pitches, places], dim=1)  # [B, SMOOTHED + T]
        summed = all_places.unfold(1, SMOOTHED, 1).sum(dim=-1)  # [B, 1 + T]
        steps = _increments(self.num_pitches, self.sample_rate, places.device)[summed]
        before, after = steps[:, :-1], steps[:, 1:]  # [B, T]
        n = torch.arange(1, self.hop_length + 1, dtype=torch.int32, device=places.device)
        bend = torch.div(after - before, self.hop_length, rounding_mode="floor")
        inside = before[..., None] * n + bend[..., None] * (n * (n + 1) // 2)  # [B, T, hop]
        ends = torch.cat([state.phase[:, None], inside[..., -1]], dim=1)
        ends = ends.cumsum(dim=1, dtype=torch.int32)  # [B, 1 + T]
        phase = inside.add_(ends[:, :-1, None])
        harmonics = torch.div(_CYCLE // 2 - 1, torch.maximum(before, after), rounding_mode="floor")
        return _pulse(phase, harmonics[..., None]), ends[:, -1], all_places[:, -SMOOTHED:]

    def _noise(self, like: Tensor, position: Tensor) -> Tensor:
        """White noise `[B, T, hop]`, a function of the position `[B]` in the signal alone."""
        _, frames, hop = like.shape
        samples = torch.arange(frames * hop, device=like.device) + position[:, None] * hop
        return _fixed_noise(like.device)[samples % _NOISE_SAMPLES].view(-1, frames, hop)

    def _filter(self, sources: Tensor, bands: Tensor) -> Tensor:
        """Filter `[B, T, 2, hop]`, crossfading from each frame's filters to the next; sum both."""
        rise = torch.arange(1, self.hop_length + 1, device=sources.device) / self.hop_length
        whole = torch.fft.rfft(sources, self.n_fft)  # [B, T, 2, F]
        rising = torch.fft.rfft(sources * rise, self.n_fft)
        filters = self.response(bands)  # [B, 1 + T, 2, F]
        spectrum = rising * filters[:, 1:] + (whole - rising) * filters[:, :-1]
        return torch.fft.irfft(spectrum.sum(dim=2), self.n_fft)

    def response(self, bands: Tensor) -> Tensor:
        """Complex filters `[..., F]` of log magnitudes `[..., M]`."""
        spectra = _spectra(self.num_bands, self.n_fft, self.sample_rate, bands.device)
        log_magnitude, phase = (bands.clamp(max=_LOUDEST) @ spectra).chunk(2, dim=-1)
        return torch.polar(log_magnitude.exp(), phase)


def overlap_add(windows: Tensor, tails: Tensor, hop_length: int) -> tuple[Tensor, Tensor]:
    """Add windows `[B, T, N]`, each a hop later than the last, to a waveform `[B, 1, T * hop]`.

    Args:
        windows: of T frames; N samples are at most `P + 1` hops.
        tails: the last P windows before them, `[B, P, N]`.
        hop_length: samples from one frame to the next.

    Returns:
        The waveform, and the last P windows.
    """
    past, size = tails.shape[1:]
    all_windows = torch.cat([tails, windows], dim=1)
    padded = F.pad(all_windows, (0, (past + 1) * hop_length - size))
    parts = padded.unflatten(-1, (past + 1, hop_length))  # [B, P + T, P + 1, hop]
    frames = windows.shape[1]
    wav = parts[:, past:, 0]
    for age in range(1, past + 1):
        wav = wav + parts[:, past - age : past - age + frames, age]
    return wav.flatten(1)[:, None], all_windows[:, frames:]


def pitch_index(hz: Tensor, num_pitches: int) -> Tensor:
    """Index of a pitch in the pitch table, with fractions."""
    octaves = math.log2(HIGHEST_HZ / LOWEST_HZ)
    return (hz / LOWEST_HZ).log2() / octaves * (num_pitches - 1)


def band_centres(num_bands: int, sample_rate: int) -> np.ndarray:
    """Hz of the bands `[M]`, evenly spaced in mel (O'Shaughnessy's formula)."""
    return 700 * np.expm1(np.linspace(0, math.log1p(sample_rate / 2 / 700), num_bands))


def _pulse(phase: Tensor, harmonics: Tensor) -> Tensor:
    """Sum of `harmonics` cosines of unit power; phases [B, T, hop] int32, harmonics [B, T, 1]."""
    odd = 2 * harmonics + 1
    below = (phase * (math.pi / _CYCLE)).sin_()
    above = ((phase * odd) * (math.pi / _CYCLE)).sin_()
    tiny = below.abs() < 1e-5  # there the quotient is `odd`, to six digits
    ratio = torch.where(tiny, odd.to(above.dtype), above / below.masked_fill_(tiny, 1.0))
    return (ratio - 1) * (2 * harmonics).rsqrt()


# Tables are cached per device instead of registered as buffers: they survive construction on the
# meta device and `module.to(bfloat16)`. They must not be inference tensors, which training rejects.


@lru_cache(maxsize=16)
@torch.inference_mode(False)
def _increments(num_pitches: int, sample_rate: int, device: torch.device) -> Tensor:
    """Phase increments by summed indices, `[SMOOTHED * (P - 1) + 1]` int32."""
    count = SMOOTHED * (num_pitches - 1)
    hz = LOWEST_HZ * (HIGHEST_HZ / LOWEST_HZ) ** (np.arange(count + 1) / count)
    return torch.from_numpy(np.round(hz / sample_rate * _CYCLE).astype(np.int32)).to(device)


@lru_cache(maxsize=16)
@torch.inference_mode(False)
def _fixed_noise(device: torch.device) -> Tensor:
    """White noise from a fixed seed."""
    values = np.random.Generator(np.random.PCG64(0)).standard_normal(_NOISE_SAMPLES)
    return torch.from_numpy(values.astype(np.float32)).to(device)


@lru_cache(maxsize=16)
@torch.inference_mode(False)
def _spectra(num_bands: int, n_fft: int, sample_rate: int, device: torch.device) -> Tensor:
    """Matrix `[M, 2 * F]` from bands to interpolated log magnitudes and minimum phases."""
    bins = np.fft.rfftfreq(n_fft, 1 / sample_rate)
    centres = band_centres(num_bands, sample_rate)
    log_magnitude = np.stack([np.interp(bins, centres, row) for row in np.eye(num_bands)])
    cepstrum = np.fft.irfft(log_magnitude, n_fft)
    half = n_fft // 2
    cepstrum[:, 1:half] *= 2  # fold the anticausal part into the causal part
    cepstrum[:, half + 1 :] = 0
    phase = np.fft.rfft(cepstrum).imag
    return torch.from_numpy(np.concatenate([log_magnitude, phase], axis=1)).float().to(device)
