"""Patchify and UnPatchify as a linear transform and its inverse, layer by layer: where they begin.

Letters: `B` batch, `S` samples, `T` steps at a layer's rate, `C` channels, `N` vectors.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .batch_normalizer import BatchNormalizer
from .codebook import principal_axes
from .conv import CausalConv, Downsample, Elu, ResidualUnit, Upsample
from .patchify import ConvPatchify, ConvUnpatchify, LinearPatchify, LinearUnpatchify

# Size of the random part of the weights, as a share of the usual one: it breaks symmetry.
_NOISE = 0.05


def principal_patches(patchify: nn.Module, unpatchify: nn.Module, wav: Tensor) -> None:
    """Place both by waveforms `[B, 1, S]`, S a multiple of the hop."""
    if isinstance(patchify, ConvPatchify) and isinstance(unpatchify, ConvUnpatchify):
        _place_conv(patchify, unpatchify, wav.transpose(1, 2))
    elif isinstance(patchify, LinearPatchify) and isinstance(unpatchify, LinearUnpatchify):
        _place_linear(patchify, unpatchify, wav)


def _place_conv(patchify: ConvPatchify, unpatchify: ConvUnpatchify, x: Tensor) -> None:
    """Walk down Patchify with the features `[B, T, C]`, and set each layer's mirror."""
    mirrors = [m for m in reversed(unpatchify.layers) if isinstance(m, CausalConv | Upsample)]
    for layer in [*patchify.layers, *unpatchify.layers]:
        if isinstance(layer, ResidualUnit):
            _silence(layer.narrow)
    for layer in patchify.layers:
        if isinstance(layer, CausalConv | Downsample):
            mirror = mirrors.pop(0)
            stride = layer.stride if isinstance(layer, Downsample) else 1
            conv = layer.conv if isinstance(layer, Downsample) else layer
            back = mirror.conv if isinstance(mirror, Upsample) else mirror
            folded = x.reshape(-1, stride * x.shape[-1])  # [N, stride * C]
            _, axes, _ = principal_axes(folded)
            kept = axes[:, : conv.weight.shape[0]].to(x)  # [stride * C, O]
            _set_newest_tap(conv, kept.T)
            _set_newest_tap(back, kept)
        if isinstance(layer, CausalConv | Downsample | Elu | ResidualUnit):
            x = layer.step(x, None)[0]
    first = unpatchify.layers[0]
    assert isinstance(first, CausalConv)
    _place_norm(patchify.norm, x, first.weight, first.bias)
    with torch.no_grad():
        if first.gain is not None:
            first.gain.copy_(first.weight.norm(dim=1, keepdim=True))


def _place_linear(patchify: LinearPatchify, unpatchify: LinearUnpatchify, wav: Tensor) -> None:
    patches = wav.reshape(-1, patchify.hop_length)  # [N, hop]
    _, axes, _ = principal_axes(patches)
    width = patchify.embedding.weight.shape[0]
    kept = axes[:, :width].to(wav)  # [hop, D]
    patchify.embedding.weight[: kept.shape[1]] = kept.T
    patchify.embedding.bias.zero_()
    unpatchify.projection.weight[:, : kept.shape[1]] = kept
    unpatchify.projection.bias.zero_()


def _place_norm(norm: nn.Module, x: Tensor, weight: Tensor, bias: Tensor) -> None:
    """Set running statistics by features `[B, T, C]`, and undo them in the layer that reads."""
    if not isinstance(norm, BatchNormalizer):
        return
    flat = x.flatten(0, 1)
    norm.mean.copy_(flat.mean(dim=0))
    norm.variance.copy_(flat.var(dim=0))
    norm.updates.fill_(1)
    width = len(norm.mean)
    newest = weight[:, -width:]
    bias.add_(newest @ norm.mean)
    weight.view(len(weight), -1, width).mul_((norm.variance + norm.epsilon).sqrt())


def _set_newest_tap(conv: CausalConv, matrix: Tensor) -> None:
    """Let the newest tap be `matrix` (as much as fits) and the rest small noise."""
    width = conv.weight.shape[1] // conv.kernel_size
    conv.weight.normal_(std=_NOISE * conv.weight.shape[1] ** -0.5)
    rows, columns = matrix.shape
    conv.weight[:rows, conv.weight.shape[1] - width :][:, :columns] += matrix
    conv.bias.zero_()
    if conv.gain is not None:
        conv.gain.copy_(conv.weight.norm(dim=1, keepdim=True))


def _silence(conv: CausalConv) -> None:
    """Make a residual branch begin at a tenth of its voice."""
    if conv.gain is not None:
        conv.gain.mul_(0.1)
    else:
        conv.weight.mul_(0.1)
