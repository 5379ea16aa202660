"""Spectral teacher, which needs no download: smoothed spectra with context, in two flavours.

``speech``: features of classic speech recognition. Mel cepstra with mean normalization per clip
(speaker, channel and level), over 160 ms, as the first cosines along time. ``sound``: textures and
instruments. Mel bands over 320 ms with level normalization per clip: mean, standard deviation,
slope and flux of the bands, each followed by a cosine transform along the bands.

Not in the paper (paper.md 3, D): a replacement of wav2vec 2.0 and BEATs without downloads.

Shapes: ``F`` 10 ms frames, ``M`` mel bands, ``N`` feature frames, ``P`` width.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from .teacher import Teacher

FLAVOURS = ("speech", "sound")
# Shares of the squared distance of the four statistics per band or cepstrum, most for the mean
# shape. Chosen by hand; they sum to 1.
SHARES = {"speech": (0.55, 0.25, 0.13, 0.07), "sound": (0.55, 0.20, 0.10, 0.15)}
# Root mean variance of these statistics on mixed speech, or on sound and music.
SPREAD = {"speech": (14.5, 8.9, 6.1, 4.4), "sound": (8.8, 2.7, 3.3, 1.0)}
# Cosine k along the bands is weighted by (k + 1) ** LIFTER. Without it the first few dominate the
# distance (for sound one direction has 61 %), and the codebook represents loudness only.
LIFTER = {"speech": 0.35, "sound": 0.8}
DYNAMIC_RANGE = 1e-5  # added to energies relative to the clip's mean band energy


def mel_bank(
    *, bands: int, bins: int, sample_rate: int, low: float, high: float, dtype: torch.dtype
) -> Tensor:
    """Return triangular mel filters [bins, bands] between ``low`` and ``high`` Hz.

    Each column sums to 1, so a white spectrum has the same energy in every band. A filter between
    two FFT bins uses the bin nearest to its centre.
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
    """Return the first ``count`` orthonormal DCT-II vectors over ``length`` points."""
    points = (torch.arange(length, dtype=torch.float64) + 0.5) * (math.pi / length)
    table = torch.cos(torch.arange(count, dtype=torch.float64)[:, None] * points)
    table[0] *= math.sqrt(0.5)
    return (table * math.sqrt(2 / length)).float()


class SpectralTeacher(Teacher):
    """Teacher of log-mel statistics with context (not in the paper: paper.md 3, D).

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
            raise ValueError(f"flavour must be one of {FLAVOURS}, got {flavour!r}")
        if dim < 16 or dim % 4:
            raise ValueError(f"dim must be a multiple of 4 and at least 16, got {dim}")
        if sample_rate < 16000:
            raise ValueError(f"sample_rate must be at least 16000, got {sample_rate}")
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
            # Many speech corpora have 16 kHz: bands above 7.6 kHz would depend on the corpus.
            low=60.0 if speech else 40.0,
            high=7600.0 if speech else min(12000.0, sample_rate / 2),
            dtype=torch.float32,
        )
        shares, spread = SHARES[flavour], SPREAD[flavour]
        self._weights = torch.tensor(
            [math.sqrt(a / self.columns) / s for a, s in zip(shares, spread, strict=True)]
        )[:, None]  # [4, 1]
        # Speech omits cosine 0, the level; for sound the transform is a rotation of the bands.
        first, points = (1, 2 * self.columns) if speech else (0, self.columns)
        table = cosines(first + self.columns, points)[first:]
        order = torch.arange(1, self.columns + 1, dtype=torch.float32)
        self._cepstra = table * (order ** LIFTER[flavour])[:, None]  # [columns, M]

    def _features(self, wavs: list[Tensor]) -> list[Tensor]:
        # Separately, so that clips are independent; the FFTs are batched over frames.
        features = self._speech if self.flavour == "speech" else self._sound
        return [features(self._log_mel(wav)) for wav in wavs]

    def _log_mel(self, wav: Tensor) -> Tensor:
        """Return log energies [F, M] relative to the mean energy of the clip."""
        frames = wav.unfold(0, self.window, self.hop) * self._hann  # [F, window]
        spectrum = torch.fft.rfft(frames, n=self.fft)
        energies = (spectrum.real**2 + spectrum.imag**2) @ self._bank  # [F, M]
        level = energies.mean().clamp(min=1e-10)
        return torch.log(energies / level + DYNAMIC_RANGE)

    def _padded(self, frames: Tensor) -> Tensor:
        """Pad [F, X] with its edge frames, so that every feature has its full context: [X, F']."""
        features = -(-frames.shape[0] // self.stride)
        missing = (features - 1) * self.stride + self.context - frames.shape[0]
        left = (self.context - self.stride) // 2
        return F.pad(frames.T[None], (left, missing - left), mode="replicate")[0]

    def _speech(self, log_mel: Tensor) -> Tensor:
        cepstra = log_mel @ self._cepstra.T  # [F, columns]
        cepstra = cepstra - cepstra.mean(0)
        table = cosines(4, self.context)  # [4, context]
        windows = self._padded(cepstra).unfold(1, self.context, self.stride)
        cosine_sums = torch.einsum("xnc,kc->nkx", windows, table)  # [N, 4, columns]
        return (cosine_sums * self._weights).flatten(1)

    def _sound(self, log_mel: Tensor) -> Tensor:
        windows = self._padded(log_mel).unfold(1, self.context, self.stride)  # [M, N, context]
        mean = windows.mean(2)
        spread = windows.std(2)
        slope = windows @ cosines(2, self.context)[1] / math.sqrt(self.context)
        flux = windows.diff(dim=2).abs().mean(2)
        statistics = torch.stack((mean, spread, slope, flux))  # [4, M, N]
        rotated = statistics.transpose(1, 2) @ self._cepstra.T  # [4, N, columns]
        return (rotated * self._weights[..., None]).transpose(0, 1).flatten(1)
