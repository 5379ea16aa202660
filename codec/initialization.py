"""Data-dependent initialization of Patchify, query encoder, quantizer and decoder.

With random weights the queries of all sounds are nearly equal, so codebooks collapse and do not
recover. Therefore the encoder and decoder are initialised from the frames of a few hundred crops
(`mini` preset: without it the mel distance had not changed after 200 steps; with it, 100 steps
lowered it from 3.3 to 2.8), and the quantizer from queries, best after some steps without
quantization: at first queries depend on little more than loudness, and codebooks that are
initialised then stay limited to it. The method is ours (D); the paper does not describe any.

Shapes: `B` batch, `S` samples, `N` vectors, `D` width, `E` Transformer width.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn

from .batch_normalizer import BatchNormalizer
from .codebook import principal_axes
from .conv import CausalConv, Downsample, Elu, Lstm, ResidualUnit, Upsample
from .istft import IstftVocoder
from .model import ALMTokenizer
from .patchify import (
    ConvPatchify,
    ConvUnpatchify,
    LinearPatchify,
    LinearUnpatchify,
    build_mirror,
)
from .vocoder import HarmonicVocoder

# Axes with less than this share of the largest variance are treated as noise.
_NOISE = 1e-3
# Standard deviation of the decoder's initial output, as a share of that of frames.
_SPREAD = 0.5
# Random part of the weights, which breaks symmetry, as a share of the usual random weights.
_WEIGHT_NOISE = 0.05
_NO_AUDIO = "initialization needs at least one batch of audio, got none"


@torch.no_grad()
def initialize_coders(codec: ALMTokenizer, wavs: Iterable[Tensor]) -> None:
    """Initialise the encoder's input and the decoder's output from batches `[B, 1, S]`.

    The input layer whitens frames and the output layer inverts that: most of the energy of frames
    is their mean over time, which carries no information. A random rotation spreads the rest over
    all channels of the Transformer. All processes must pass the same data.

    Raises:
        ValueError: There is no batch.
    """
    wavs = list(wavs)
    initialize_vocoder(codec, wavs)
    frames = torch.cat([x.flatten(0, 1) for x in _frames(codec, wavs)])  # [N, D]
    mean, axes, variances = principal_axes(frames)
    encoder_input, decoder_output = codec.encoder.input, codec.decoder.output
    scale = (variances + _NOISE * variances[0]).rsqrt()
    rotation = _random_rotation(encoder_input.weight.shape[0], len(mean), mean)
    whitening = rotation @ (axes * scale).T  # [E, D]
    encoder_input.weight.copy_(whitening)
    encoder_input.bias.copy_(-whitening @ mean)
    spread = _SPREAD * axes * variances.sqrt()  # [D, D]
    rotation = _random_rotation(decoder_output.weight.shape[1], len(mean), mean)
    decoder_output.weight.copy_(spread @ rotation.T)
    decoder_output.bias.copy_(mean)


@torch.no_grad()
def initialize_vocoder(codec: ALMTokenizer, wavs: Iterable[Tensor]) -> None:
    """Initialise a vocoder from the spectra of batches `[B, 1, S]`; a mirror is not changed."""
    if isinstance(codec.unpatchify, HarmonicVocoder | IstftVocoder):
        codec.unpatchify.initialize(torch.cat(list(wavs)))


@torch.no_grad()
def initialize_patchify(codec: ALMTokenizer, wavs: Iterable[Tensor]) -> None:
    """Initialise Patchify and UnPatchify near a linear transform and its inverse (before stage 1).

    Each strided layer projects on the principal axes of its input, its mirror inverts that, and the
    other layers are near the identity (an ELU is for small signals). With random weights a stack
    learns little but silence in the first thousand steps: on the `mini` preset, and with EnCodec's
    stack, the waveform error stayed above the signal.

    Raises:
        ValueError: There is no batch.
    """
    batches = list(wavs)
    if not batches:
        raise ValueError(_NO_AUDIO)
    hop = codec.config.hop_length
    wav = torch.cat([w[..., : w.shape[-1] // hop * hop] for w in batches])  # [B, 1, S]
    patchify, mirror = codec.patchify, codec.unpatchify
    if not isinstance(mirror, ConvUnpatchify | LinearUnpatchify):
        mirror = build_mirror(codec.config).to(wav.device)  # discarded: a vocoder has no such start
    if isinstance(patchify, ConvPatchify) and isinstance(mirror, ConvUnpatchify):
        _initialize_conv(patchify, mirror, wav.transpose(1, 2))
    elif isinstance(patchify, LinearPatchify) and isinstance(mirror, LinearUnpatchify):
        _initialize_linear(patchify, mirror, wav)


@torch.no_grad()
def initialize_quantizer(codec: ALMTokenizer, wavs: Iterable[Tensor]) -> None:
    """Initialise projections and codebooks from the queries of batches `[B, 1, S]`.

    About four queries per codebook entry are enough. All processes must pass the same data.

    Raises:
        ValueError: There is no batch.
    """
    w = codec.config.frames_per_query
    frames = list(_frames(codec, wavs))
    norm = codec.encoder.norm
    if isinstance(norm, BatchNormalizer) and not int(norm.updates):
        # Before the first training step there are no statistics yet: collect them.
        norm.train()
        for x in frames:
            codec.encoder(x, w)
        norm.eval()
    codec.quantizer.initialize(torch.cat([codec.encoder(x, w).flatten(0, 1) for x in frames]))


def _frames(codec: ALMTokenizer, wavs: Iterable[Tensor]) -> Iterator[Tensor]:
    """Frames `[B, T, D]` of the whole windows of each batch."""
    window = codec.config.hop_length * codec.config.frames_per_query
    wav = None
    for wav in wavs:
        yield codec.patchify(wav[..., : wav.shape[-1] // window * window])
    if wav is None:
        raise ValueError(_NO_AUDIO)


def _random_rotation(rows: int, columns: int, like: Tensor) -> Tensor:
    """Random matrix `[rows, columns]` with orthonormal rows or columns."""
    size = max(rows, columns)
    square = torch.randn(size, size, dtype=like.dtype, device=like.device)
    return torch.linalg.qr(square).Q[:rows, :columns]


def _initialize_conv(patchify: ConvPatchify, unpatchify: ConvUnpatchify, x: Tensor) -> None:
    """Initialise each layer from its input, starting with `[B, T, C]`, together with its mirror."""
    mirrors = [m for m in reversed(unpatchify.layers) if isinstance(m, CausalConv | Upsample)]
    for layer in [*patchify.layers, *unpatchify.layers]:
        if isinstance(layer, ResidualUnit):
            _scale_down(layer.narrow)
        if isinstance(layer, Lstm):
            for weights in layer.lstm.all_weights[-1]:
                weights.mul_(0.1)
    for layer in patchify.layers:
        if isinstance(layer, CausalConv | Downsample):
            mirror = mirrors.pop(0)
            stride = layer.stride if isinstance(layer, Downsample) else 1
            conv = layer.conv if isinstance(layer, Downsample) else layer
            mirror_conv = mirror.conv if isinstance(mirror, Upsample) else mirror
            folded = x.reshape(-1, stride * x.shape[-1])  # [N, stride * C]
            _, axes, _ = principal_axes(folded)
            basis = axes[:, : conv.weight.shape[0]].to(x)  # [stride * C, O]
            _set_newest_tap(conv, basis.T)
            _set_newest_tap(mirror_conv, basis)
        if isinstance(layer, CausalConv | Downsample | Elu | Lstm | ResidualUnit):
            x = layer.step(x, None)[0]
    first = unpatchify.layers[0]
    assert isinstance(first, CausalConv)
    _initialize_norm(patchify.norm, x, first.weight, first.bias)
    with torch.no_grad():
        if first.gain is not None:
            first.gain.copy_(first.weight.norm(dim=1, keepdim=True))


def _initialize_linear(patchify: LinearPatchify, unpatchify: LinearUnpatchify, wav: Tensor) -> None:
    patches = wav.reshape(-1, patchify.hop_length)  # [N, hop]
    _, axes, _ = principal_axes(patches)
    width = patchify.embedding.weight.shape[0]
    basis = axes[:, :width].to(wav)  # [hop, D]
    patchify.embedding.weight[: basis.shape[1]] = basis.T
    patchify.embedding.bias.zero_()
    unpatchify.projection.weight[:, : basis.shape[1]] = basis
    unpatchify.projection.bias.zero_()


def _initialize_norm(norm: nn.Module, x: Tensor, weight: Tensor, bias: Tensor) -> None:
    """Set statistics from features `[B, T, C]` and invert them in UnPatchify's first layer."""
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
    """Set the newest tap to `matrix`, as far as it fits, plus small noise in all weights."""
    width = conv.weight.shape[1] // conv.kernel_size
    conv.weight.normal_(std=_WEIGHT_NOISE * conv.weight.shape[1] ** -0.5)
    rows, columns = matrix.shape
    conv.weight[:rows, conv.weight.shape[1] - width :][:, :columns] += matrix
    conv.bias.zero_()
    if conv.gain is not None:
        conv.gain.copy_(conv.weight.norm(dim=1, keepdim=True))


def _scale_down(conv: CausalConv) -> None:
    """Scale the output of a residual branch to a tenth."""
    if conv.gain is not None:
        conv.gain.mul_(0.1)
    else:
        conv.weight.mul_(0.1)
