"""Patchify and UnPatchify: waveform `[B, 1, S]` to frames `[B, T, D]` and back, `S = T * hop`.

Two kinds (paper.md 2.1, A): `conv`, EnCodec style, and `linear`, StableCodec style (a linear map of
each patch, then a Transformer; the mirror is Transformer, then reshape). Both are causal and stream
through `step(x, state)`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ..core.linear import Linear
from .batch_normalizer import BatchNormalizer
from .config import ALMTokenizerConfig
from .conv import CausalConv, Chain, Downsample, Elu, Lstm, ResidualUnit, Upsample
from .istft import IstftVocoder
from .streaming import StreamingModule
from .transformer import Transformer
from .vocoder import HarmonicVocoder

# Size of the largest feature map of one chunk: without gradients, convolutions process a signal in
# chunks, so that the features between their layers stay in the processor's cache.
_CHUNK_NUMBERS = 2**19


def build_patchify(config: ALMTokenizerConfig) -> StreamingModule:
    """Build the Patchify module of a config."""
    return ConvPatchify(config) if config.patchify == "conv" else LinearPatchify(config)


def build_unpatchify(config: ALMTokenizerConfig) -> StreamingModule:
    """Build the UnPatchify module of a config."""
    if config.unpatchify == "harmonic":
        return HarmonicVocoder(config)
    if config.unpatchify == "istft":
        return IstftVocoder(config)
    return build_mirror(config)


def build_mirror(config: ALMTokenizerConfig) -> StreamingModule:
    """Build the mirror of the Patchify module of a config."""
    return ConvUnpatchify(config) if config.patchify == "conv" else LinearUnpatchify(config)


class ConvPatchify(StreamingModule):
    """Residual units and strided convolutions, from the sample rate to the frame rate."""

    def __init__(self, config: ALMTokenizerConfig):
        super().__init__()
        norm = config.weight_norm
        channels = config.conv_channels
        layers: list[nn.Module] = []
        if channels[0] > 1:
            layers.append(CausalConv(1, channels[0], config.conv_kernel_size, weight_norm=norm))
        for before, after, stride in zip(channels, channels[1:], config.strides, strict=False):
            if before > 1:
                for _ in range(config.num_residual_units):
                    layers.append(
                        ResidualUnit(before, config.residual_kernel_size, weight_norm=norm)
                    )
                layers.append(Elu())
            layers.append(Downsample(before, after, stride, weight_norm=norm))
        layers += _lstm(config)
        layers.append(Elu())
        layers.append(
            CausalConv(channels[-1], config.hidden_size, config.conv_kernel_size, weight_norm=norm)
        )
        self.layers = Chain(layers)
        self.norm = _frame_norm(config)
        self.hop_length = config.hop_length
        self.chunk_frames = _chunk_frames(config)

    def step(self, x: Tensor, state: list | None) -> tuple[Tensor, list]:
        """Map a waveform `[B, 1, S]` to frames `[B, T, D]`; S is a multiple of the hop."""
        x = x.transpose(1, 2)
        frames, state = _step_in_chunks(self.layers, x, state, self.chunk_frames, self.hop_length)
        return self.norm(frames).to(frames.dtype), state


class ConvUnpatchify(StreamingModule):
    """The mirror of :class:`ConvPatchify`: transposed convolutions in reverse order."""

    def __init__(self, config: ALMTokenizerConfig):
        super().__init__()
        norm = config.weight_norm
        channels = config.conv_channels[::-1]
        layers: list[nn.Module] = [
            CausalConv(config.hidden_size, channels[0], config.conv_kernel_size, weight_norm=norm),
            *_lstm(config),
        ]
        strides = config.strides[::-1]
        for before, after, stride in zip(channels, channels[1:], strides, strict=False):
            # Without full-rate channels the last layer computes the waveform itself: a third tap
            # makes neighbouring steps overlap more smoothly.
            taps = 2 if after > 1 else 3
            layers += [
                Elu(),
                Upsample(before, after, stride, weight_norm=norm, kernel_size=taps),
            ]
            if after > 1:
                for _ in range(config.num_residual_units):
                    layers.append(
                        ResidualUnit(after, config.residual_kernel_size, weight_norm=norm)
                    )
        if channels[-1] > 1:
            layers += [
                Elu(),
                CausalConv(channels[-1], 1, config.conv_kernel_size, weight_norm=norm),
            ]
        self.layers = Chain(layers)
        self.chunk_frames = _chunk_frames(config)

    def step(self, x: Tensor, state: list | None) -> tuple[Tensor, list]:
        """Map frames `[B, T, D]` to a waveform `[B, 1, T * hop]`."""
        wav, state = _step_in_chunks(self.layers, x, state, self.chunk_frames, 1)
        return wav.transpose(1, 2), state


class LinearPatchify(StreamingModule):
    """A linear map of each hop of samples, then a Transformer over the frames."""

    def __init__(self, config: ALMTokenizerConfig):
        super().__init__()
        self.hop_length = config.hop_length
        self.embedding = Linear(config.hop_length, config.hidden_size)
        self.transformer = _patch_transformer(config)
        self.norm = _frame_norm(config)

    def step(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        """Map a waveform `[B, 1, S]` to frames `[B, T, D]`; S is a multiple of the hop."""
        patches = x.reshape(x.shape[0], -1, self.hop_length)  # [B, T, hop]
        frames, state = self.transformer.step(self.embedding(patches), 1, state)
        return self.norm(frames).to(frames.dtype), state


class LinearUnpatchify(StreamingModule):
    """The mirror of :class:`LinearPatchify`: a Transformer, then a linear map of each frame."""

    def __init__(self, config: ALMTokenizerConfig):
        super().__init__()
        self.transformer = _patch_transformer(config)
        self.projection = Linear(config.hidden_size, config.hop_length)

    def step(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        """Map frames `[B, T, D]` to a waveform `[B, 1, T * hop]`."""
        frames, state = self.transformer.step(x, 1, state)
        return self.projection(frames).reshape(x.shape[0], 1, -1), state


def _lstm(config: ALMTokenizerConfig) -> list[nn.Module]:
    return [Lstm(config.conv_channels[-1], config.lstm_layers)] if config.lstm_layers else []


def _chunk_frames(config: ALMTokenizerConfig) -> int:
    """Frames of a chunk whose largest feature map has about `_CHUNK_NUMBERS` numbers."""
    steps = [config.hop_length]  # of each layer's features, per frame
    for stride in config.strides:
        steps.append(steps[-1] // stride)
    widest = max(n * width for n, width in zip(steps, config.conv_channels, strict=True))
    return max(1, _CHUNK_NUMBERS // widest)


def _step_in_chunks(
    layers: Chain, x: Tensor, state: list | None, frames: int, steps: int
) -> tuple[Tensor, list]:
    """Apply layers to `[B, T, C]` in nearly equal chunks of at most `frames` frames.

    A frame is `steps` time steps of the input. With gradients there is a single chunk.
    """
    total = x.shape[1] // steps
    count = 1 if torch.is_grad_enabled() else -(-total * x.shape[0] // frames)
    if count <= 1:
        return layers.step(x, state)
    outputs: list[Tensor] = []
    for chunk in x.split(-(-total // count) * steps, dim=1):
        y, state = layers.step(chunk, state)
        outputs.append(y)
    return torch.cat(outputs, dim=1), state  # type: ignore[return-value]


def _patch_transformer(config: ALMTokenizerConfig) -> Transformer:
    return Transformer(
        width=config.hidden_size,
        num_layers=config.patch_transformer_layers,
        num_heads=config.num_attention_heads,
        ffn_size=config.ffn_ratio * config.hidden_size,
        window=config.attention_window,
        mode=config.attention_mode,
        layer_scale=config.layer_scale,
        rope_theta=config.rope_theta,
    )


def _frame_norm(config: ALMTokenizerConfig) -> nn.Module:
    """Normalisation per channel; normalisation per frame would remove the loudness."""
    if not config.normalize_frames:
        return nn.Identity()
    return BatchNormalizer(config.hidden_size, frozen=True)
