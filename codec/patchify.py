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
from .conv import CausalConv, Chain, Downsample, Elu, ResidualUnit, Upsample
from .streaming import StreamingModule
from .transformer import Transformer
from .vocoder import HarmonicVocoder

# Numbers in the widest features of one piece: while nothing is trained, convolutions take a signal
# piece by piece, so that what passes between their layers stays in the processor's cache.
_PIECE_NUMBERS = 2**19


def build_patchify(config: ALMTokenizerConfig) -> StreamingModule:
    """Return the Patchify module that the config names."""
    return ConvPatchify(config) if config.patchify == "conv" else LinearPatchify(config)


def build_unpatchify(config: ALMTokenizerConfig) -> StreamingModule:
    """Return the UnPatchify module that the config names."""
    if config.unpatchify == "harmonic":
        return HarmonicVocoder(config)
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
        layers.append(Elu())
        layers.append(
            CausalConv(channels[-1], config.hidden_size, config.conv_kernel_size, weight_norm=norm)
        )
        self.layers = Chain(layers)
        self.norm = _frame_norm(config)
        self.hop_length = config.hop_length
        self.piece_frames = _piece_frames(config)

    def step(self, x: Tensor, state: list | None) -> tuple[Tensor, list]:
        """Map a waveform `[B, 1, S]` to frames `[B, T, D]`; S is a multiple of the hop."""
        x = x.transpose(1, 2)
        frames, state = _in_pieces(self.layers, x, state, self.piece_frames, self.hop_length)
        return self.norm(frames).to(frames.dtype), state


class ConvUnpatchify(StreamingModule):
    """The mirror of :class:`ConvPatchify`: transposed convolutions in reverse order."""

    def __init__(self, config: ALMTokenizerConfig):
        super().__init__()
        norm = config.weight_norm
        channels = config.conv_channels[::-1]
        layers: list[nn.Module] = [
            CausalConv(config.hidden_size, channels[0], config.conv_kernel_size, weight_norm=norm)
        ]
        strides = config.strides[::-1]
        for before, after, stride in zip(channels, channels[1:], strides, strict=False):
            # The last layer of a stack without full-rate channels writes the waveform itself:
            # one more tap lets neighbouring steps overlap more smoothly.
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
        self.piece_frames = _piece_frames(config)

    def step(self, x: Tensor, state: list | None) -> tuple[Tensor, list]:
        """Map frames `[B, T, D]` to a waveform `[B, 1, T * hop]`."""
        wav, state = _in_pieces(self.layers, x, state, self.piece_frames, 1)
        return wav.transpose(1, 2), state


class LinearPatchify(StreamingModule):
    """Each hop of samples through one linear map, then a Transformer over the frames."""

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
    """The mirror of :class:`LinearPatchify`: a Transformer, then each frame becomes a hop."""

    def __init__(self, config: ALMTokenizerConfig):
        super().__init__()
        self.transformer = _patch_transformer(config)
        self.projection = Linear(config.hidden_size, config.hop_length)

    def step(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        """Map frames `[B, T, D]` to a waveform `[B, 1, T * hop]`."""
        frames, state = self.transformer.step(x, 1, state)
        return self.projection(frames).reshape(x.shape[0], 1, -1), state


def _piece_frames(config: ALMTokenizerConfig) -> int:
    """Frames of one signal whose widest features hold about `_PIECE_NUMBERS`."""
    steps = [config.hop_length]  # of each layer's features, per frame
    for stride in config.strides:
        steps.append(steps[-1] // stride)
    widest = max(n * width for n, width in zip(steps, config.conv_channels, strict=True))
    return max(1, _PIECE_NUMBERS // widest)


def _in_pieces(
    layers: Chain, x: Tensor, state: list | None, frames: int, steps: int
) -> tuple[Tensor, list]:
    """Pass `[B, T, C]`, a frame every `steps`, through layers, so many `frames` at a time.

    Pieces are of equal size, as far as it goes; where gradients are on there is only one.
    """
    total = x.shape[1] // steps
    count = 1 if torch.is_grad_enabled() else -(-total * x.shape[0] // frames)
    if count <= 1:
        return layers.step(x, state)
    outputs: list[Tensor] = []
    for piece in x.split(-(-total // count) * steps, dim=1):
        y, state = layers.step(piece, state)
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
    """Per channel, not per frame: a frame's length is the loudness of the sound."""
    if not config.normalize_frames:
        return nn.Identity()
    return BatchNormalizer(config.hidden_size, follow=False)
