"""Reconstruction losses: waveform L1 (`time`) and multi-scale log-mel distance (`mel`).

The paper says "time-domain L1 and a frequency-domain term, as SoundStream and EnCodec"
(paper.md 5.1, A); the resolutions and the form of the frequency term are ours (D).

Every loss is a mean over the items of the batch of a value that depends on that item only, so the
mean over two processes equals the value of one process with both batches.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .base import ForwardPass, LossSetup, TrainingLoss, component_config
from .spectrum import MelScale, mel_magnitude


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
    mels: tuple[int, ...] = ()  # bands per window; empty: DAC's 5, 10, 20 .. 320
    f_min: float = 0.0  # Hz
    f_max: float | None = None  # Hz; None: half the sample rate
    mel_scale: MelScale = "slaney"
    # Added before the logarithm, in units of the standard deviation of white noise: -80 dB. A clamp
    # would have no gradient below it, and with a lower floor the inaudible noise of pauses would
    # weigh as much as speech.
    floor: float = 1e-4
    log_l1: float = 1.0  # weight of the mean absolute difference of log-mels (nats)
    log_l2: float = 1.0  # weight of the root mean square difference per frame (EnCodec's 2-norm)
    linear_l1: float = 0.0  # weight of the mean absolute difference of mels (EnCodec's 1-norm)

    def __post_init__(self) -> None:
        object.__setattr__(self, "windows", tuple(self.windows))  # lists in JSON
        mels = tuple(self.mels) or tuple(max(1, 5 * window // 32) for window in self.windows)
        object.__setattr__(self, "mels", mels)
        if len(self.windows) != len(self.mels):
            raise ValueError(
                f"there must be one mels per window, got {len(self.mels)} for {len(self.windows)}"
            )
        if any(window % 4 for window in self.windows):
            raise ValueError(f"windows must be multiples of 4, got {self.windows}")


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
        """Build the loss from the config field `mel` at the codec's sample rate."""
        rate = setup.model.sample_rate
        return cls(component_config(MelLossConfig, setup.config.mel, sample_rate=rate))

    def compute(self, forward: ForwardPass) -> Tensor:
        """Return the loss of the output waveform."""
        assert forward.output is not None
        return self(forward.output, forward.target)

    def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Compare `[B, 1, S]` with `[B, 1, S]`; returns a scalar, target without gradient."""
        _check_shapes(prediction, target)
        config = self.config
        total = prediction.new_zeros((), dtype=torch.float32)
        with torch.autocast(device_type=prediction.device.type, enabled=False):
            for window, n_mels in zip(config.windows, config.mels, strict=True):
                total = total + self._distance(prediction, target, window, n_mels)
        return total / len(config.windows)

    def _distance(self, prediction: Tensor, target: Tensor, window: int, n_mels: int) -> Tensor:
        config = self.config
        x = self._mel(prediction, window, n_mels)  # [B, L, M]
        with torch.no_grad():
            y = self._mel(target, window, n_mels)
        difference = (x + config.floor).log() - (y + config.floor).log()
        loss = x.new_zeros(())
        if config.log_l1:
            loss = loss + config.log_l1 * difference.abs().mean()
        if config.log_l2:
            # The constant keeps the gradient of the root finite where both spectra are equal.
            rms = (difference.square().mean(dim=-1) + 1e-10).sqrt()  # [B, L]
            loss = loss + config.log_l2 * rms.mean()
        if config.linear_l1:
            loss = loss + config.linear_l1 * (x - y).abs().mean()
        return loss

    def _mel(self, wav: Tensor, window: int, n_mels: int) -> Tensor:
        config = self.config
        return mel_magnitude(
            wav,
            sample_rate=config.sample_rate,
            n_fft=window,
            hop_length=window // 4,
            n_mels=n_mels,
            f_min=config.f_min,
            f_max=config.f_max,
            mel_scale=config.mel_scale,
        )


def _check_shapes(prediction: Tensor, target: Tensor) -> None:
    if prediction.shape != target.shape or prediction.dim() != 3 or prediction.shape[1] != 1:
        raise ValueError(
            f"both waveforms must have one shape [B, 1, S], got {tuple(prediction.shape)} and "
            f"{tuple(target.shape)}"
        )
