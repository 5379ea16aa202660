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
from torch import Tensor

from .batch_normalizer import BatchNormalizer
from .codebook import principal_axes
from .initialization_patches import principal_patches
from .model import ALMTokenizer
from .vocoder import HarmonicVocoder

# Variance, as a share of the largest axis', below which an axis is taken for noise.
_NOISE = 1e-3
# The decoder begins as a timid version of what frames look like: half their spread.
_SPREAD = 0.5


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
        codec.unpatchify.place(torch.cat(wavs))
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
    codec.quantizer.start(torch.cat([codec.encoder(x, w).flatten(0, 1) for x in frames]))


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
