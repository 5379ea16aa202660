"""Place an untrained query encoder, quantizer and decoder by data, before stage 2 trains them.

From random weights the quantizer sees nearly the same vector for every sound: its codebooks
collapse, and nothing pulls them apart again. So the encoder and decoder are first placed by what
frozen Patchify makes of a few hundred crops (measured on the `mini` preset: the mel distance had
not moved after 200 steps without it; with it, 100 steps brought it from 3.3 to 2.8), and the
quantizer by what the encoder says, best after some steps without quantization: an encoder that
has just begun knows little more than loudness, and codebooks placed then shrink to that. All of it
is linear algebra; the method is ours (D), the paper is silent.

Letters: `B` batch, `S` samples, `N` vectors, `D` width, `E` Transformer width.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn

from .batch_normalizer import BatchNormalizer
from .codebook import principal_axes
from .conv import CausalConv, Downsample, Elu, ResidualUnit, Upsample
from .model import ALMTokenizer
from .patchify import ConvPatchify, ConvUnpatchify, LinearPatchify, LinearUnpatchify
from .vocoder import HarmonicVocoder

# Variance, as a share of the largest axis', below which an axis is taken for noise.
_NOISE = 1e-3
# The decoder begins as a timid version of what frames look like: half their spread.
_SPREAD = 0.5
# Size of the random part of the weights, as a share of the usual one: it breaks symmetry.
_WEIGHT_NOISE = 0.05


@torch.no_grad()
def initialize_coders(codec: ALMTokenizer, wavs: Iterable[Tensor]) -> None:
    """Place the encoder's input and the decoder's output by the frames of batches `[B, 1, S]`.

    Give frames of equal variance along all axes to the encoder, and the way back to the decoder:
    most of a frame's energy is its mean over time, which says nothing, and a random rotation
    spreads the rest over all channels of the Transformer. Every process brings the same data.

    Raises:
        ValueError: if no batch comes.
    """
    wavs = list(wavs)
    if isinstance(codec.unpatchify, HarmonicVocoder):
        codec.unpatchify.initialize(torch.cat(wavs))
    frames = torch.cat([x.flatten(0, 1) for x in _frames(codec, wavs)])  # [N, D]
    mean, axes, variances = principal_axes(frames)
    into, out = codec.encoder.input, codec.decoder.output
    scale = (variances + _NOISE * variances[0]).rsqrt()
    whitening = _rotation(into.weight.shape[0], len(mean), mean) @ (axes * scale).T  # [E, D]
    into.weight.copy_(whitening)
    into.bias.copy_(-whitening @ mean)
    spread = _SPREAD * axes * variances.sqrt()  # [D, D]
    out.weight.copy_(spread @ _rotation(out.weight.shape[1], len(mean), mean).T)
    out.bias.copy_(mean)


@torch.no_grad()
def initialize_patchify(codec: ALMTokenizer, wavs: Iterable[Tensor]) -> None:
    """Place Patchify and UnPatchify near a linear transform and its inverse (before stage 1).

    Each strided layer takes the principal axes of what it sees, its mirror the way back, and the
    rest starts near the identity (an ELU is one for quiet signals). From random weights the first
    thousand steps teach such a stack little but silence: on the `mini` preset the waveform error
    stayed above the signal itself, as it did for EnCodec's own stack.

    Raises:
        ValueError: if no batch comes.
    """
    batches = list(wavs)
    if not batches:
        raise ValueError("no audio came to start the codec from")
    hop = codec.config.hop_length
    wav = torch.cat([w[..., : w.shape[-1] // hop * hop] for w in batches])  # [B, 1, S]
    principal_patches(codec.patchify, codec.unpatchify, wav)


@torch.no_grad()
def initialize_quantizer(codec: ALMTokenizer, wavs: Iterable[Tensor]) -> None:
    """Place prior maps and codebooks by the queries of batches `[B, 1, S]`.

    Best four queries for each entry in all. Every process brings the same data.

    Raises:
        ValueError: if no batch comes.
    """
    w = codec.config.frames_per_query
    frames = list(_frames(codec, wavs))
    norm = codec.encoder.norm
    if isinstance(norm, BatchNormalizer) and not int(norm.updates):
        # No step came before: without statistics the queries here would not be those of training.
        norm.train()
        for x in frames:
            codec.encoder(x, w)
        norm.eval()
    codec.quantizer.initialize(torch.cat([codec.encoder(x, w).flatten(0, 1) for x in frames]))


def _frames(codec: ALMTokenizer, wavs: Iterable[Tensor]) -> Iterator[Tensor]:
    """Frames `[B, T, D]` of each batch, whole windows."""
    window = codec.config.hop_length * codec.config.frames_per_query
    wav = None
    for wav in wavs:
        yield codec.patchify(wav[..., : wav.shape[-1] // window * window])
    if wav is None:
        raise ValueError("no audio came to start the codec from")


def _rotation(rows: int, columns: int, like: Tensor) -> Tensor:
    """A random matrix `[rows, columns]` with orthonormal rows or columns."""
    size = max(rows, columns)
    square = torch.randn(size, size, dtype=like.dtype, device=like.device)
    return torch.linalg.qr(square).Q[:rows, :columns]


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
    conv.weight.normal_(std=_WEIGHT_NOISE * conv.weight.shape[1] ** -0.5)
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
