"""The teacher that needs no download: smoothed spectra with context, one flavour per half.

``speech``: what a recogniser of the pre-neural age was given. Mel cepstra, freed of the clip's mean
(speaker, channel and level), over 160 ms, as the first cosines along time.
``sound``: what separates textures and instruments. Mel bands over 320 ms, freed of the clip's level
only: mean, spread, slope and flux of the bands, each turned by cosines along the bands.

Not in the paper (paper.md 3, D): a stand-in for wav2vec 2.0 and BEATs on machines without them.

Letters: ``F`` 10 ms frames, ``M`` mel bands, ``N`` feature frames, ``P`` width.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from .teacher import Teacher

FLAVOURS = ("speech", "sound")
# The four numbers kept per band or cepstrum, with the share of the squared distance given to each:
# the mean shape decides, its movement refines. Chosen by hand; the shares sum to 1.
SHARES = {"speech": (0.55, 0.25, 0.13, 0.07), "sound": (0.55, 0.20, 0.10, 0.15)}
# Root mean variance of those numbers on mixed speech, or on sound and music, before the shares.
SPREAD = {"speech": (14.5, 8.9, 6.1, 4.4), "sound": (8.8, 2.7, 3.3, 1.0)}
# Cosine k along the bands is weighted by (k + 1) ** LIFTER. Without it the first few hold nearly
# all of the distance (for sound one direction 61 %): the codebook becomes a loudness scale.
LIFTER = {"speech": 0.35, "sound": 0.8}
DYNAMIC_RANGE = 1e-5  # energies below the clip's mean band energy times this are one "silence"


def mel_bank(
    *, bands: int, bins: int, sample_rate: int, low: float, high: float, dtype: torch.dtype
) -> Tensor:
    """Return mean-preserving mel triangles [bins, bands] between ``low`` and ``high`` Hz.

    Each column sums to 1, so a white spectrum gives the same energy in every band. A triangle that
    would fall between two FFT bins takes the bin nearest to its centre.
    """
    corners = torch.linspace(_mel(low), _mel(high), bands + 2, dtype=torch.float64)
    hertz = 700 * (torch.exp(corners / 1127) - 1)
    grid = torch.arange(bins, dtype=torch.float64) * (sample_rate / 2 / (bins - 1))
    rising = (grid[:, None] - hertz[:-2]) / (hertz[1:-1] - hertz[:-2])
    falling = (hertz[2:] - grid[:, None]) / (hertz[2:] - hertz[1:-1])
    bank = torch.minimum(rising, falling).clamp(min=0)  # [bins, bands]
    empty = bank.sum(0) == 0
    nearest = (grid[:, None] - hertz[1:-1]).abs().argmin(0)
    bank[nearest[empty], empty.nonzero()[:, 0]] = 1
    return (bank / bank.sum(0)).to(dtype)


def _mel(hertz: float) -> float:
    return 1127 * math.log(1 + hertz / 700)


def cosines(count: int, length: int) -> Tensor:
    """Return the first ``count`` orthonormal cosines (DCT-II) over ``length`` points."""
    points = (torch.arange(length, dtype=torch.float64) + 0.5) * (math.pi / length)
    table = torch.cos(torch.arange(count, dtype=torch.float64)[:, None] * points)
    table[0] *= math.sqrt(0.5)
    return (table * math.sqrt(2 / length)).float()


class SpectralTeacher(Teacher):
    """Log-mel statistics with context (not the paper's: paper.md 3, D).

    Args:
        flavour: ``speech`` or ``sound``.
        dim: width P of a vector, a multiple of 4 (default 128, so that both flavours share it).
        sample_rate: rate in Hz of the clips; at least 16000.

    Example:
        >>> import torch
        >>> teacher = SpectralTeacher(flavour="speech")
        >>> teacher.features(torch.randn(24000)).shape
        torch.Size([49, 128])
    """

    def __init__(self, *, flavour: str, dim: int = 128, sample_rate: int = 24000) -> None:
        if flavour not in FLAVOURS:
            raise ValueError(f"spectral flavour must be one of {FLAVOURS}, got {flavour!r}")
        if dim < 16 or dim % 4:
            raise ValueError(f"the spectral width must be a multiple of 4 from 16 on, got {dim}")
        if sample_rate < 16000:
            raise ValueError(f"the spectral teacher needs 16000 Hz or more, got {sample_rate}")
        speech = flavour == "speech"
        self.flavour, self.dim, self.sample_rate = flavour, dim, sample_rate
        self.name = f"spectral:{flavour}"
        self.hop = sample_rate // 100
        self.window = sample_rate // 40
        self.stride = 2 if speech else 4  # 10 ms frames per feature
        self.context = 16 if speech else 32  # 10 ms frames seen by a feature
        self.frame_rate = sample_rate / (self.hop * self.stride)
        self.min_samples = self.window
        self.columns = dim // 4
        fft = 1 << (self.window - 1).bit_length()
        self.fft = fft
        self._hann = torch.hann_window(self.window)
        self._bank = mel_bank(
            bands=2 * self.columns if speech else self.columns,
            bins=fft // 2 + 1,
            sample_rate=sample_rate,
            # Speech corpora come at 16 kHz as often as not: above 7.6 kHz is only the recorder.
            low=60.0 if speech else 40.0,
            high=7600.0 if speech else min(12000.0, sample_rate / 2),
            dtype=torch.float32,
        )
        shares, spread = SHARES[flavour], SPREAD[flavour]
        self._weights = torch.tensor(
            [math.sqrt(a / self.columns) / s for a, s in zip(shares, spread, strict=True)]
        )[:, None]  # [4, 1]
        # Speech leaves out cosine 0, the level; sound keeps all, a mere turn of its bands.
        first, points = (1, 2 * self.columns) if speech else (0, self.columns)
        table = cosines(first + self.columns, points)[first:]
        order = torch.arange(1, self.columns + 1, dtype=torch.float32)
        self._cepstra = table * (order ** LIFTER[flavour])[:, None]  # [columns, M]

    def _features(self, wavs: list[Tensor]) -> list[Tensor]:
        # One by one: exactly the same with any neighbours, and the FFTs batch over frames anyway.
        read = self._speech if self.flavour == "speech" else self._sound
        return [read(self._log_mel(wav)) for wav in wavs]

    def _log_mel(self, wav: Tensor) -> Tensor:
        """Return log energies [F, M] relative to the clip's own mean energy."""
        frames = wav.unfold(0, self.window, self.hop) * self._hann  # [F, window]
        spectrum = torch.fft.rfft(frames, n=self.fft)
        energies = (spectrum.real**2 + spectrum.imag**2) @ self._bank  # [F, M]
        level = energies.mean().clamp(min=1e-10)
        return torch.log(energies / level + DYNAMIC_RANGE)

    def _padded(self, frames: Tensor) -> Tensor:
        """Repeat the edge frames of [F, X] so that every feature sees its full context: [X, F']."""
        features = -(-frames.shape[0] // self.stride)
        missing = (features - 1) * self.stride + self.context - frames.shape[0]
        left = (self.context - self.stride) // 2
        return F.pad(frames.T[None], (left, missing - left), mode="replicate")[0]

    def _speech(self, log_mel: Tensor) -> Tensor:
        cepstra = log_mel @ self._cepstra.T  # [F, columns]
        cepstra = cepstra - cepstra.mean(0)
        table = cosines(4, self.context)  # [4, context]
        windows = self._padded(cepstra).unfold(1, self.context, self.stride)
        moved = torch.einsum("xnc,kc->nkx", windows, table)  # [N, 4, columns]
        return (moved * self._weights).flatten(1)

    def _sound(self, log_mel: Tensor) -> Tensor:
        windows = self._padded(log_mel).unfold(1, self.context, self.stride)  # [M, N, context]
        mean = windows.mean(2)
        spread = windows.std(2)
        slope = windows @ cosines(2, self.context)[1] / math.sqrt(self.context)
        flux = windows.diff(dim=2).abs().mean(2)
        numbers = torch.stack((mean, spread, slope, flux))  # [4, M, N]
        turned = numbers.transpose(1, 2) @ self._cepstra.T  # [4, N, columns]
        return (turned * self._weights[..., None]).transpose(0, 1).flatten(1)
