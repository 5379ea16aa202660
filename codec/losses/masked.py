"""Masked frame prediction (MAE): mask frames of Patchify and predict them from the others.

From the paper (paper.md 5.1, A): the rate is drawn from U(0.2, 0.3); masked frames are set to zero,
neither dropped nor replaced by a learned token; the masked sequence runs through the encoder
Transformer and a separate decoder; squared error on masked frames only. Ours (D): one mask per
item, a detached target, no query tokens, a final linear map.

Shapes: B batch, T frames, D width.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from ..transformer import Transformer
from .base import ForwardPass, LossSetup, TrainingLoss, component_config

Encode = Callable[[Tensor], Tensor]  # [B, T, D] -> [B, T, D]


@dataclass(frozen=True, kw_only=True)
class MaskedFramesConfig:
    """Settings of :class:`MaskedFrames`; only the rates are the paper's."""

    rate_low: float = 0.2  # A
    rate_high: float = 0.3  # A
    encoder_layers: int = 2  # D: encoder for stage 1; 0 in stage 2, which has the query encoder
    decoder_layers: int = 1  # D: small, as in every MAE
    num_heads: int = 4  # D
    ffn_ratio: int = 4  # D
    window: int = 128  # D: frames of attention on each side
    mode: Literal["full", "causal"] = "full"  # D: both sides, since there are no streams
    layer_scale: float = 0.1  # D: above the codec's 0.01: these networks train for one stage

    def __post_init__(self) -> None:
        if not 0.0 < self.rate_low <= self.rate_high < 1.0:
            raise ValueError(
                f"rates must be 0 < low <= high < 1, got {self.rate_low}, {self.rate_high}"
            )


@dataclass(frozen=True)
class MaskedBatch:
    """Masked frames."""

    frames: Tensor  # [B, T, D], zero where masked
    mask: Tensor  # [B, T] bool, True where masked


class MaskedFrames(TrainingLoss):
    """Masked frame prediction; `masked` in configs and logs.

    The input of the decoder is the encoder's output at all positions, and never an unmasked input:
    the gradient of a prediction with respect to a masked frame is exactly zero.

    Args:
        width: D of the frames.
        config: see :class:`MaskedFramesConfig`.

    Example:
        >>> import torch
        >>> objective = MaskedFrames(32)
        >>> frames, seeds = torch.randn(2, 40, 32), torch.tensor([1, 2])
        >>> objective(frames, seeds).shape
        torch.Size([])
    """

    def __init__(self, width: int, config: MaskedFramesConfig | None = None) -> None:
        super().__init__()
        self.config = config or MaskedFramesConfig()
        self.encoder = self._transformer(width, self.config.encoder_layers)
        self.decoder = self._transformer(width, self.config.decoder_layers)
        self.output = nn.Linear(width, width)

    @classmethod
    def from_setup(cls, setup: LossSetup) -> MaskedFrames:
        """Build the loss from the config field `masked`; stage 2 uses the query encoder (5.2)."""
        shared = {} if setup.config.stage == "1" else {"encoder_layers": 0}
        config = component_config(MaskedFramesConfig, {**setup.config.masked, **shared})
        return cls(setup.model.hidden_size, config)

    def compute(self, forward: ForwardPass) -> Tensor | None:
        """Return the loss of Patchify's frames."""
        if forward.frames is None:
            return None
        return self(forward.frames, forward.seeds, forward.encode_frames)

    def _transformer(self, width: int, num_layers: int) -> Transformer | None:
        if num_layers == 0:
            return None
        return Transformer(
            width=width,
            num_layers=num_layers,
            num_heads=self.config.num_heads,
            ffn_size=self.config.ffn_ratio * width,
            window=self.config.window,
            mode=self.config.mode,
            layer_scale=self.config.layer_scale,
        )

    def forward(self, frames: Tensor, seeds: Tensor, encode: Encode | None = None) -> Tensor:
        """Return the mean squared error per channel of the masked frames (float32 scalar).

        About 1 for frames of unit variance without training. Averaged within each item first, so
        that the mean over two processes equals that of one process with both batches.

        Args:
            frames: Patchify's output `[B, T, D]`; the target is a detached copy of it.
            seeds: `[B]` int64, one per item, which determine the mask.
            encode: the query encoder without queries (stage 2); None: the encoder of this module
                (stage 1).
        """
        masked = self.mask(frames, seeds)
        prediction = self.predict(masked.frames, encode)  # [B, T, D]
        with torch.autocast(device_type=frames.device.type, enabled=False):
            error = (prediction.float() - frames.detach().float()).square().mean(dim=-1)  # [B, T]
            weight = masked.mask.float()
            return ((error * weight).sum(dim=1) / weight.sum(dim=1)).mean()

    def mask(self, frames: Tensor, seeds: Tensor) -> MaskedBatch:
        """Set random frames to zero, at least one per item, drawn by `seeds [B]`.

        They are drawn on the CPU with a generator per item, so they depend neither on the device
        nor on the division of the batch over processes.
        """
        batch, length = frames.shape[:2]
        if seeds.shape != (batch,):
            raise ValueError(f"seeds must have shape ({batch},), got {tuple(seeds.shape)}")
        mask = torch.zeros(batch, length, dtype=torch.bool)
        for row, seed in zip(mask, seeds.tolist(), strict=True):
            generator = torch.Generator().manual_seed(seed)
            span = self.config.rate_high - self.config.rate_low
            rate = self.config.rate_low + span * float(torch.rand((), generator=generator))
            count = max(1, round(rate * length))
            row[torch.randperm(length, generator=generator)[:count]] = True
        mask = mask.to(frames.device)
        return MaskedBatch(frames.masked_fill(mask[..., None], 0.0), mask)

    def predict(self, masked_frames: Tensor, encode: Encode | None = None) -> Tensor:
        """Map masked frames `[B, T, D]` to predictions of all frames `[B, T, D]`."""
        encode = encode if encode is not None else self.encoder
        if encode is None:
            raise ValueError("encode must be an encoder where encoder_layers is 0, got None")
        hidden = encode(masked_frames)
        return self.output(self.decoder(hidden) if self.decoder is not None else hidden)
