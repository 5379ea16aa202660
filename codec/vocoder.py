"""UnPatchify by rule: pulses at a pitch and noise, each through a filter that a frame names.

    frames [B,T,D] -> pitch [B,T,P], bands [B,T,2,M] -> pulses, noise [B,T,hop] -> filters -> wav

The mirror of Patchify draws every wave out of a frame, and so would have to carry the phase of a
voice from frame to frame; a small one that trains for hours writes the same wave into each, which
buzzes at the frame rate. Here the phase is counted, and the network only names pitch and spectra,
which is what a spectral loss can teach (harmonic plus noise model, Serra and Smith 1990; filters
without a delay as in homomorphic vocoders). The paper has no such part: ours (D).

Phase is counted in whole numbers, so a stream and a whole recording, or a row alone and in a batch,
go through the same phases; they can differ only where two pitches are as likely within rounding.

Letters: `B` batch, `T` frames, `D` width, `P` pitches, `M` bands, `F` frequency bins.
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
# Pitches of so many frames are averaged: finer steps than the table's, and a smoother curve.
SMOOTHED = 3
# Phases are counted in these parts of a cycle, as int32: that overflows after two cycles, which is
# the period of the sine of half a phase.
_CYCLE = 2**31
_NOISE_SAMPLES = 2**16
_LOUDEST = 4.0
_AROUND = 4  # neighbours of a band to each side, for HarmonicUnpatchify.sharpen


@dataclass(frozen=True)
class VocoderParameters:
    """What frames say of pulses and noise, float32."""

    pitch: Tensor  # [B, T, P] logits
    bands: Tensor  # [B, T, 2, M] log magnitudes of the filter of pulses, and of noise


@dataclass(frozen=True)
class HarmonicState:
    """What is kept between two steps of a stream."""

    position: int  # frames so far
    phase: Tensor  # [B] int32, of the last sample, in parts of a cycle
    pitches: Tensor  # [B, SMOOTHED] int64, places in the table of the last frames
    bands: Tensor  # [B, 1, 2, M], of the last frame
    tails: Tensor  # [B, 2, n], what the filters of the last two frames said, see _overlap


class HarmonicVocoder(StreamingModule):
    """Pulses and noise through the filters that frames name; causal, without look-ahead."""

    def __init__(self, config: ALMTokenizerConfig):
        super().__init__()
        self.hop_length = config.hop_length
        self.sample_rate = config.sample_rate
        self.num_pitches = config.num_pitches
        self.num_bands = config.harmonic_bands
        self.n_fft = 2 * round(1.2 * config.hop_length)  # a hop, and room for a filter's ringing
        self.inner = Linear(config.hidden_size, config.hidden_size)
        self.outer = Linear(config.hidden_size, self.num_pitches + 2 * self.num_bands)

    @torch.no_grad()
    def place(self, wav: Tensor) -> None:
        """Begin with the mean spectrum of waveforms `[B, 1, S]`, half pulses and half noise."""
        window = torch.hann_window(self.n_fft, device=wav.device)
        window /= window.square().sum().sqrt()
        spectrum = torch.fft.rfft(wav.float().unfold(-1, self.n_fft, self.n_fft) * window).abs()
        mean = (spectrum + 1e-4).log().flatten(0, -2).mean(dim=0)  # [F]
        centres = torch.from_numpy(band_centres(self.num_bands, self.sample_rate))
        bins = (centres * self.n_fft / self.sample_rate).round().long().to(wav.device)
        quiet = self.outer.weight[self.num_pitches :]
        quiet.mul_(0.1)
        self.outer.bias[self.num_pitches :] = (mean[bins] - 0.5 * math.log(2)).repeat(2)

    @torch.no_grad()
    def sharpen(self, amount: float, gain_db: float = 0.0) -> None:
        """Make spectra stand out more: `amount` times what a band has above its neighbours' mean.

        A distance of spectra is least for a blurred guess, so what trained by it says formants too
        flatly (the global variance of parametric synthesis; Toda and Tokuda 2007). Bands are a
        linear map of what frames say, and so the sharper ones are too: only weights change. Peaks
        carry most of the power, so all becomes louder; `gain_db` takes that back.

        Raises:
            ValueError: if the amount is negative, or one of them is not finite.
        """
        if not 0 <= amount < math.inf:
            raise ValueError(f"spectra are sharpened by an amount of 0 or more; came {amount}")
        if not math.isfinite(gain_db):
            raise ValueError(f"the gain is a number of decibels; came {gain_db}")
        count = self.num_bands
        bands = torch.eye(count, dtype=torch.float64)  # on the CPU: not every device has float64
        around = F.pad(bands[None], (_AROUND, _AROUND), mode="replicate")
        # One row for each band that alone is 1: the transpose maps bands as they are said.
        blurred = F.avg_pool1d(around, 2 * _AROUND + 1, stride=1)[0]
        mixed = ((1 + amount) * bands - amount * blurred).T  # [M, M]
        for said in (self.outer.weight, self.outer.bias):
            for kind in said[self.num_pitches :].split(count):  # pulses, noise
                kind.copy_(mixed @ kind.cpu().double())
        self.outer.bias[self.num_pitches :] += gain_db * math.log(10) / 20

    def describe(self, frames: Tensor) -> VocoderParameters:
        """Read pitch and bands out of frames `[B, T, D]`."""
        with nullcontext() if frames.is_meta else torch.autocast(frames.device.type, enabled=False):
            said = self.outer(F.elu(self.inner(frames.to(self.inner.weight.dtype)))).float()
        pitch, bands = said.split([self.num_pitches, 2 * self.num_bands], dim=-1)
        return VocoderParameters(pitch, bands.unflatten(-1, (2, self.num_bands)))

    def step(self, x: Tensor, state: HarmonicState | None) -> tuple[Tensor, HarmonicState]:
        """Map frames `[B, T, D]` to a waveform `[B, 1, T * hop]`."""
        return self.render(self.describe(x), state)

    def render(
        self, said: VocoderParameters, state: HarmonicState | None = None
    ) -> tuple[Tensor, HarmonicState]:
        """Make the waveform `[B, 1, T * hop]` that a description asks for."""
        places = said.pitch.argmax(dim=-1)  # [B, T]
        if state is None:
            state = self._start(places, said.bands)
        pulses, phase, pitches = self._pulses(places, state)
        sources = torch.stack([pulses, self._noise(pulses, state.position)], dim=2)
        bands = torch.cat([state.bands, said.bands], dim=1)  # [B, 1 + T, 2, M]
        heard = self._filter(sources, bands)  # [B, T, n_fft]
        wav, tails = self._overlap(heard, state.tails)
        position = state.position + places.shape[1]
        return wav, HarmonicState(position, phase, pitches, bands[:, -1:], tails)

    def _start(self, places: Tensor, bands: Tensor) -> HarmonicState:
        """Before the first frame: as if it had always been so, and silent."""
        batch = places.shape[0]
        return HarmonicState(
            position=0,
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

    def _noise(self, like: Tensor, position: int) -> Tensor:
        """White noise `[B, T, hop]`, the same at the same place of every signal."""
        batch, frames, hop = like.shape
        at = torch.arange(frames * hop, device=like.device) + position * hop
        noise = _fixed_noise(like.device)[at % _NOISE_SAMPLES]
        return noise.view(frames, hop).expand(batch, frames, hop)

    def _filter(self, sources: Tensor, bands: Tensor) -> Tensor:
        """Filter `[B, T, 2, hop]`, gliding from each frame's filters to the next; sum the two."""
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

    def _overlap(self, heard: Tensor, tails: Tensor) -> tuple[Tensor, Tensor]:
        """Add what rings on from `[B, T, n_fft]` into the following hops: `[B, 1, T * hop]`."""
        hop, frames = self.hop_length, heard.shape[1]
        every = F.pad(torch.cat([tails, heard], dim=1), (0, 3 * hop - self.n_fft))
        parts = every.unflatten(-1, (3, hop))  # [B, 2 + T, 3, hop]
        wav = parts[:, 2:, 0] + parts[:, 1 : 1 + frames, 1] + parts[:, :frames, 2]
        return wav.flatten(1)[:, None], every[:, -2:, : self.n_fft]


def place_of(hz: Tensor, num_pitches: int) -> Tensor:
    """The place of a pitch in the table of pitches, not rounded."""
    octaves = math.log2(HIGHEST_HZ / LOWEST_HZ)
    return (hz / LOWEST_HZ).log2() / octaves * (num_pitches - 1)


def band_centres(num_bands: int, sample_rate: int) -> np.ndarray:
    """Hz of the bands `[M]`, evenly spaced in mel (O'Shaughnessy's formula)."""
    return 700 * np.expm1(np.linspace(0, math.log1p(sample_rate / 2 / 700), num_bands))


def _pulse(phase: Tensor, harmonics: Tensor) -> Tensor:
    """Sum of so many cosines, of unit power; phases [B, T, hop] int32, harmonics [B, T, 1]."""
    odd = 2 * harmonics + 1
    below = (phase * (math.pi / _CYCLE)).sin_()
    above = ((phase * odd) * (math.pi / _CYCLE)).sin_()
    tiny = below.abs() < 1e-5  # there the quotient is `odd`, to six digits
    ratio = torch.where(tiny, odd.to(above.dtype), above / below.masked_fill_(tiny, 1.0))
    return (ratio - 1) * (2 * harmonics).rsqrt()


# Tables follow from the configuration and are held by device instead of in the module: nothing to
# lose when a module is built on the meta device, nothing to be rounded by `module.to(bfloat16)`.
# An inference tensor, kept, could not take part in training later.


@lru_cache(maxsize=16)
@torch.inference_mode(False)
def _increments(num_pitches: int, sample_rate: int, device: torch.device) -> Tensor:
    """Phase steps by summed places, `[SMOOTHED * (P - 1) + 1]` int32."""
    count = SMOOTHED * (num_pitches - 1)
    hz = LOWEST_HZ * (HIGHEST_HZ / LOWEST_HZ) ** (np.arange(count + 1) / count)
    return torch.from_numpy(np.round(hz / sample_rate * _CYCLE).astype(np.int32)).to(device)


@lru_cache(maxsize=16)
@torch.inference_mode(False)
def _fixed_noise(device: torch.device) -> Tensor:
    """White noise, the same for everybody."""
    values = np.random.Generator(np.random.PCG64(0)).standard_normal(_NOISE_SAMPLES)
    return torch.from_numpy(values.astype(np.float32)).to(device)


@lru_cache(maxsize=16)
@torch.inference_mode(False)
def _spectra(num_bands: int, n_fft: int, sample_rate: int, device: torch.device) -> Tensor:
    """Bands to log magnitudes, by interpolation, and to the phases of least delay: `[M, 2 * F]`."""
    bins = np.fft.rfftfreq(n_fft, 1 / sample_rate)
    centres = band_centres(num_bands, sample_rate)
    log_magnitude = np.stack([np.interp(bins, centres, row) for row in np.eye(num_bands)])
    cepstrum = np.fft.irfft(log_magnitude, n_fft)
    half = n_fft // 2
    cepstrum[:, 1:half] *= 2  # what lies in the past is folded into the future
    cepstrum[:, half + 1 :] = 0
    phase = np.fft.rfft(cepstrum).imag
    return torch.from_numpy(np.concatenate([log_magnitude, phase], axis=1)).float().to(device)
