"""Masked frames (MAE): hide frames of Patchify's output and predict them from the rest.

Known (paper.md 5.1, A): the rate is drawn from U(0.2, 0.3); hidden frames are set to zero, neither
dropped nor replaced by a learned token; the masked sequence runs through the encoder Transformer,
then through a decoder of its own; squared error on hidden frames only. Ours (D): one mask per item,
the target is detached, no query tokens take part, a final linear map.

Legend: B batch, T frames, D width.
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
    encoder_layers: int = 2  # D: the own encoder of stage 1; 0 where one is always given (stage 2)
    decoder_layers: int = 1  # D: small, as in every MAE; the encoder shall do the work
    num_heads: int = 4  # D
    ffn_ratio: int = 4  # D
    window: int = 128  # D: frames seen to each side
    mode: Literal["full", "causal"] = "full"  # D: both sides, as nothing is streamed here
    layer_scale: float = 0.1  # D: above the codec's 0.01, since these networks live for one stage

    def __post_init__(self) -> None:
        if not 0.0 < self.rate_low <= self.rate_high < 1.0:
            raise ValueError(
                f"rates must be 0 < low <= high < 1, got {self.rate_low}, {self.rate_high}"
            )


@dataclass(frozen=True)
class MaskedBatch:
    """Frames with some of them hidden."""

    frames: Tensor  # [B, T, D], zero where hidden
    mask: Tensor  # [B, T] bool, True where hidden


class MaskedFrames(TrainingLoss):
    """The MAE objective; `masked` in configs and logs.

    The decoder sees the encoder's output at every position, hidden and visible, and nothing of the
    unmasked input: the gradient of a prediction with respect to a hidden frame is exactly zero.

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
        """Build it from the config field `masked`; stage 2 lends the query encoder (5.2)."""
        own = {} if setup.config.stage == "1" else {"encoder_layers": 0}
        config = component_config(MaskedFramesConfig, {**setup.config.masked, **own})
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
        """Return the mean squared error per channel of the hidden frames (float32 scalar).

        About 1 for frames of unit variance and no knowledge. Averaged within each item first, so
        that the mean over two processes is what one process with both batches computes.

        Args:
            frames: Patchify's output `[B, T, D]`; the target is a detached copy of it.
            seeds: `[B]` int64, one per item; the mask follows from it alone.
            encode: the query encoder's Transformer over plain frames (stage 2); None takes the own
                encoder (stage 1).
        """
        masked = self.mask(frames, seeds)
        prediction = self.predict(masked.frames, encode)  # [B, T, D]
        with torch.autocast(device_type=frames.device.type, enabled=False):
            error = (prediction.float() - frames.detach().float()).square().mean(dim=-1)  # [B, T]
            hidden = masked.mask.float()
            return ((error * hidden).sum(dim=1) / hidden.sum(dim=1)).mean()

    def mask(self, frames: Tensor, seeds: Tensor) -> MaskedBatch:
        """Set the frames chosen by `seeds [B]` to zero: at least one of each item.

        The draw happens on the CPU with a generator per item, so it is the same on every device and
        for every split of the batch over processes.
        """
        batch, length = frames.shape[:2]
        if seeds.shape != (batch,):
            raise ValueError(f"seeds must have shape ({batch},), got {tuple(seeds.shape)}")
        mask = torch.zeros(batch, length, dtype=torch.bool)
        for row, seed in zip(mask, seeds.tolist(), strict=True):
            generator = torch.Generator().manual_seed(seed)
            span = self.config.rate_high - self.config.rate_low
            rate = self.config.rate_low + span * float(torch.rand((), generator=generator))
            hidden = max(1, round(rate * length))
            row[torch.randperm(length, generator=generator)[:hidden]] = True
        mask = mask.to(frames.device)
        return MaskedBatch(frames.masked_fill(mask[..., None], 0.0), mask)

    def predict(self, masked_frames: Tensor, encode: Encode | None = None) -> Tensor:
        """Map masked frames `[B, T, D]` to predictions of all frames `[B, T, D]`."""
        encode = encode if encode is not None else self.encoder
        if encode is None:
            raise ValueError("encode must be an encoder where encoder_layers is 0, got None")
        hidden = encode(masked_frames)
        return self.output(self.decoder(hidden) if self.decoder is not None else hidden)
