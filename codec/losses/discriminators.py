"""The six mel discriminators (paper.md 5.1: hops and channels A, the single network B).

Shapes: B batch, S samples, L spectral frames, M mel bands, c hidden channels of one discriminator.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from .spectrum import MelScale, mel_magnitude

_STRIDES = (1, 2, 1, 2, 1, 2, 1)
_DIVISORS = (32, 16, 8, 4, 2, 1)  # widths c/32 .. c, then one channel of logits
# After three strides of 2, reflection padding needs two rows and columns.
_MIN_FRAMES = 9


# hop -> (hidden channels c (A), mel bands (D: about as many as the window resolves))
_PAPER = {
    32: (64, 32),
    64: (128, 64),
    128: (256, 64),
    256: (512, 96),
    512: (512, 128),
    1024: (512, 128),
}


@dataclass(frozen=True, kw_only=True)
class MelDiscriminatorsConfig:
    """Settings of :class:`MelDiscriminators`; the defaults are the paper's six.

    On a CPU, use fewer hops and a divisor: `hop_lengths=(64, 256, 1024), channel_divisor=4` takes a
    sixth of the time.
    """

    sample_rate: int = 24_000
    hop_lengths: tuple[int, ...] = tuple(_PAPER)  # A; n_fft = window = 4 x hop (B)
    channels: tuple[int, ...] = ()  # c per hop; empty: the paper's 64, 128, 256, 512, ...
    mels: tuple[int, ...] = ()  # bands per hop; empty: 32, 64, 64, 96, 128, 128
    channel_divisor: int = 1  # D: divides all widths, at least 2 remain
    mel_scale: MelScale = "slaney"  # D
    floor: float = 1e-5  # D: added before the logarithm
    negative_slope: float = 0.2  # B

    def __post_init__(self) -> None:
        object.__setattr__(self, "hop_lengths", tuple(self.hop_lengths))  # lists in JSON
        for column, name in enumerate(("channels", "mels")):
            values = tuple(getattr(self, name)) or self._from_paper(column)
            if len(values) != len(self.hop_lengths) or not values:
                raise ValueError(
                    f"{name} must have one entry per hop length, got {len(values)} for "
                    f"{len(self.hop_lengths)}"
                )
            object.__setattr__(self, name, values)
        if min(self.mels) < _MIN_FRAMES:
            raise ValueError(f"mels must be at least {_MIN_FRAMES}, got {min(self.mels)}")
        if self.channel_divisor < 1:
            raise ValueError(f"channel_divisor must be at least 1, got {self.channel_divisor}")

    def _from_paper(self, column: int) -> tuple[int, ...]:
        unknown = [hop for hop in self.hop_lengths if hop not in _PAPER]
        if unknown:
            raise ValueError(
                f"hop_lengths must be among {tuple(_PAPER)} without channels and mels,"
                f" got {unknown}"
            )
        return tuple(_PAPER[hop][column] for hop in self.hop_lengths)


@dataclass(frozen=True)
class DiscriminatorOutput:
    """Output of one discriminator for a batch."""

    logits: Tensor  # [B, 1, L/8, M/8], positive for real; float32
    features: tuple[Tensor, ...]  # six maps [B, c/32 .. c, L/s, M/s] with s = 1, 2, 2, 4, 4, 8


class MelDiscriminator(nn.Module):
    """Seven 3x3 convolutions over the mel and the log-mel spectrum of one resolution."""

    def __init__(
        self, config: MelDiscriminatorsConfig, hop_length: int, channels: int, n_mels: int
    ) -> None:
        super().__init__()
        self.config = config
        self.hop_length = hop_length
        self.n_mels = n_mels
        widths = [2, *(max(2, channels // config.channel_divisor // d) for d in _DIVISORS), 1]
        self.convs = nn.ModuleList(
            weight_norm(
                nn.Conv2d(
                    widths[i], widths[i + 1], 3, stride=stride, padding=1, padding_mode="reflect"
                )
            )
            for i, stride in enumerate(_STRIDES)
        )

    def forward(self, wav: Tensor) -> DiscriminatorOutput:
        """Classify `wav [B, 1, S]` of any length S >= 1."""
        x = self.spectrum(wav)
        features = []
        for conv in self.convs[:-1]:
            x = F.leaky_relu(conv(x), self.config.negative_slope)
            features.append(x)
        return DiscriminatorOutput(self.convs[-1](x).float(), tuple(features))

    def spectrum(self, wav: Tensor) -> Tensor:
        """Return the input of the convolutions `[B, 2, L, M]`: mel and log-mel, both about -1..1.

        The log-mel is mapped from floor..1 to -1..1; otherwise the linear channel would be some
        hundred times smaller than the logarithmic one and have no influence.
        """
        shortest = (_MIN_FRAMES - 1) * self.hop_length
        if wav.shape[-1] < shortest:
            wav = F.pad(wav, (0, shortest - wav.shape[-1]))
        mel = mel_magnitude(
            wav,
            sample_rate=self.config.sample_rate,
            n_fft=4 * self.hop_length,
            hop_length=self.hop_length,
            n_mels=self.n_mels,
            mel_scale=self.config.mel_scale,
        )  # [B, L, M]
        log_floor = torch.log(mel.new_tensor(self.config.floor))
        log_mel = 1.0 - 2.0 * (mel + self.config.floor).log() / log_floor
        # Channels last in memory: the convolutions take 15 to 40 % less time on a CPU.
        return torch.stack([mel, log_mel], dim=-1).permute(0, 3, 1, 2)


class MelDiscriminators(nn.Module):
    """All mel discriminators, each at its own resolution.

    Example:
        >>> import torch
        >>> config = MelDiscriminatorsConfig(hop_lengths=(256, 1024), channel_divisor=8)
        >>> outputs = MelDiscriminators(config)(torch.randn(2, 1, 24000))
        >>> [tuple(output.logits.shape) for output in outputs]
        [(2, 1, 12, 12), (2, 1, 3, 16)]
    """

    def __init__(self, config: MelDiscriminatorsConfig | None = None) -> None:
        super().__init__()
        self.config = config or MelDiscriminatorsConfig()
        self.discriminators = nn.ModuleList(
            MelDiscriminator(self.config, hop, channels, n_mels)
            for hop, channels, n_mels in zip(
                self.config.hop_lengths, self.config.channels, self.config.mels, strict=True
            )
        )

    def forward(self, wav: Tensor, only: Sequence[int] | None = None) -> list[DiscriminatorOutput]:
        """Classify `wav [B, 1, S]` of any length S >= 1, with one output per resolution.

        Args:
            wav: `[B, 1, S]`.
            only: indices of the discriminators to apply; None: all. Another pair in each step takes
                a third of the time and still covers every resolution (D).
        """
        if wav.dim() != 3 or wav.shape[1] != 1 or wav.shape[2] < 1:
            raise ValueError(f"the waveform must be [B, 1, S], got {tuple(wav.shape)}")
        indices = range(len(self.discriminators)) if only is None else only
        return [self.discriminators[index](wav) for index in indices]
