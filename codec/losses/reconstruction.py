"""Reconstruction losses: waveform L1 (`time`), multi-scale log-mel (`mel`), multi-scale STFT.

The paper says "time-domain L1 and a frequency-domain term, as SoundStream and EnCodec"
(paper.md 5.1, A); the resolutions and the form of the frequency term are ours (D).

Every loss is a mean over the items of the batch of a value that depends on that item alone, so the
mean over two processes equals the value of one process with both batches.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .base import ForwardPass, LossSetup, TrainingLoss, component_config
from .spectrum import MelScale, magnitude, mel_magnitude


class WaveformLoss(TrainingLoss):
    """Mean absolute difference of two waveforms; `time` in configs and logs."""

    def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Compare `[B, 1, S]` with `[B, 1, S]`; returns a scalar in float32."""
        _check_shapes(prediction, target)
        return (prediction.float() - target.float()).abs().mean()

    def compute(self, forward: ForwardPass) -> Tensor:
        """Return the loss of the output waveform."""
        assert forward.output is not None
        return self(forward.output, forward.target)


@dataclass(frozen=True, kw_only=True)
class MelLossConfig:
    """Settings of :class:`MelLoss` (all D)."""

    sample_rate: int = 24_000
    windows: tuple[int, ...] = (32, 64, 128, 256, 512, 1024, 2048)  # samples; hop = window / 4
    mels: tuple[int, ...] = ()  # bands of each window; empty takes DAC's 5, 10, 20 .. 320
    f_min: float = 0.0  # Hz
    f_max: float | None = None  # Hz; None is half the sample rate
    mel_scale: MelScale = "slaney"
    # Added before the logarithm, in the unit of white noise's standard deviation: -80 dB. A clamp
    # would give no gradient to a prediction below it, and a lower floor lets the inaudible noise of
    # pauses weigh as much as speech.
    floor: float = 1e-4
    log_l1: float = 1.0  # weight of the mean absolute difference of log-mels (nats)
    log_l2: float = 1.0  # weight of the root mean square difference per frame (EnCodec's 2-norm)
    linear_l1: float = 0.0  # weight of the mean absolute difference of mels (EnCodec's 1-norm)

    def __post_init__(self) -> None:
        object.__setattr__(self, "windows", tuple(self.windows))  # JSON brings lists
        mels = tuple(self.mels) or tuple(max(1, 5 * window // 32) for window in self.windows)
        object.__setattr__(self, "mels", mels)
        if len(self.windows) != len(self.mels):
            raise ValueError(
                f"one number of mels per window: came {len(self.mels)} for {len(self.windows)}"
            )
        if any(window % 4 for window in self.windows):
            raise ValueError(f"windows must be multiples of 4, came {self.windows}")


class MelLoss(TrainingLoss):
    """Log-mel distance averaged over several resolutions; `mel` in configs and logs.

    Per resolution: `log_l1 * mean |d| + log_l2 * mean over frames of rms(d)` with
    `d = log(mel(prediction) + floor) - log(mel(target) + floor)`. Float32 also under autocast.

    Example:
        >>> import torch
        >>> loss = MelLoss()
        >>> wav = torch.randn(2, 1, 4800)
        >>> float(loss(wav, wav)) < 1e-3
        True
    """

    def __init__(self, config: MelLossConfig | None = None) -> None:
        super().__init__()
        self.config = config or MelLossConfig()

    @classmethod
    def from_setup(cls, setup: LossSetup) -> MelLoss:
        """Build it from the config field `mel` at the codec's sample rate."""
        rate = setup.model.sample_rate
        return cls(component_config(MelLossConfig, setup.config.mel, sample_rate=rate))

    def compute(self, forward: ForwardPass) -> Tensor:
        """Return the loss of the output waveform."""
        assert forward.output is not None
        return self(forward.output, forward.target)

    def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Compare `[B, 1, S]` with `[B, 1, S]`; returns a scalar, target without gradient."""
        _check_shapes(prediction, target)
        cfg = self.config
        total = prediction.new_zeros((), dtype=torch.float32)
        with torch.autocast(device_type=prediction.device.type, enabled=False):
            for window, n_mels in zip(cfg.windows, cfg.mels, strict=True):
                total = total + self._at(prediction, target, window, n_mels)
        return total / len(cfg.windows)

    def _at(self, prediction: Tensor, target: Tensor, window: int, n_mels: int) -> Tensor:
        cfg = self.config
        x = self._mel(prediction, window, n_mels)  # [B, L, M]
        with torch.no_grad():
            y = self._mel(target, window, n_mels)
        difference = (x + cfg.floor).log() - (y + cfg.floor).log()
        loss = x.new_zeros(())
        if cfg.log_l1:
            loss = loss + cfg.log_l1 * difference.abs().mean()
        if cfg.log_l2:
            # The constant keeps the root's gradient finite where both spectra agree.
            rms = (difference.square().mean(dim=-1) + 1e-10).sqrt()  # [B, L]
            loss = loss + cfg.log_l2 * rms.mean()
        if cfg.linear_l1:
            loss = loss + cfg.linear_l1 * (x - y).abs().mean()
        return loss

    def _mel(self, wav: Tensor, window: int, n_mels: int) -> Tensor:
        cfg = self.config
        return mel_magnitude(
            wav,
            sample_rate=cfg.sample_rate,
            n_fft=window,
            hop_length=window // 4,
            n_mels=n_mels,
            f_min=cfg.f_min,
            f_max=cfg.f_max,
            mel_scale=cfg.mel_scale,
        )


@dataclass(frozen=True, kw_only=True)
class MultiScaleSTFTLossConfig:
    """Settings of :class:`MultiScaleSTFTLoss` (all D)."""

    windows: tuple[int, ...] = (512, 1024, 2048)  # samples; hop = window / 4
    floor: float = 1e-5  # added before the logarithm
    convergence: float = 1.0  # weight of |X - Y| / |Y| (Frobenius norms)
    log_l1: float = 1.0  # weight of the mean absolute difference of log magnitudes


class MultiScaleSTFTLoss(nn.Module):
    """Spectral convergence + log-magnitude L1 at several resolutions (Parallel WaveGAN's).

    An alternative to :class:`MelLoss`; agrees with `auraloss.freq.MultiResolutionSTFTLoss`.
    """

    def __init__(self, config: MultiScaleSTFTLossConfig | None = None) -> None:
        super().__init__()
        self.config = config or MultiScaleSTFTLossConfig()

    def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Compare `[B, 1, S]` with `[B, 1, S]`; returns a scalar, target without gradient."""
        _check_shapes(prediction, target)
        cfg = self.config
        total = prediction.new_zeros((), dtype=torch.float32)
        for window in cfg.windows:
            x = magnitude(prediction, window, window // 4)  # [B, L, F]
            with torch.no_grad():
                y = magnitude(target, window, window // 4)
            error = ((x - y).square().sum(dim=(1, 2)) + 1e-10).sqrt()  # [B]
            scale = y.square().sum(dim=(1, 2)).sqrt() + cfg.floor
            total = total + cfg.convergence * (error / scale).mean()
            logs = (x + cfg.floor).log() - (y + cfg.floor).log()
            total = total + cfg.log_l1 * logs.abs().mean()
        return total / len(cfg.windows)


def _check_shapes(prediction: Tensor, target: Tensor) -> None:
    if prediction.shape != target.shape or prediction.dim() != 3 or prediction.shape[1] != 1:
        raise ValueError(
            f"expected two waveforms of one shape [B, 1, S], came {tuple(prediction.shape)} and "
            f"{tuple(target.shape)}"
        )
