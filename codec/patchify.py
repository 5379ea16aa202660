"""Patchify and UnPatchify: waveform `[B, 1, S]` to frames `[B, T, D]` and back, `S = T * hop`.

Two kinds (paper.md 2.1, A): `conv`, EnCodec style, and `linear`, StableCodec style (a linear map of
each patch, then a Transformer; the mirror is Transformer, then reshape). Both are causal and stream
through `step(x, state)`.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from .batch_normalizer import BatchNormalizer
from .config import ALMTokenizerConfig
from .conv import CausalConv, Chain, Downsample, Elu, ResidualUnit, Upsample
from .linear import Linear
from .transformer import Transformer


def build_patchify(config: ALMTokenizerConfig) -> StreamingModule:
    """Return the Patchify module that the config names."""
    return ConvPatchify(config) if config.patchify == "conv" else LinearPatchify(config)


def build_unpatchify(config: ALMTokenizerConfig) -> StreamingModule:
    """Return the UnPatchify module that the config names."""
    return ConvUnpatchify(config) if config.patchify == "conv" else LinearUnpatchify(config)


class StreamingModule(nn.Module):
    """A module whose offline call is one step from the start of the signal."""

    def step(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        """Map the next part of a signal; state None is its start."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """Map a whole signal."""
        return self.step(x, None)[0]


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

    def step(self, x: Tensor, state: list | None) -> tuple[Tensor, list]:
        """Map a waveform `[B, 1, S]` to frames `[B, T, D]`; S is a multiple of the hop."""
        frames, state = self.layers.step(x.transpose(1, 2), state)
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

    def step(self, x: Tensor, state: list | None) -> tuple[Tensor, list]:
        """Map frames `[B, T, D]` to a waveform `[B, 1, T * hop]`."""
        wav, state = self.layers.step(x, state)
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
