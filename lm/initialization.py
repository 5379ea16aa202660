"""Initialise embeddings and heads of codes from the codebooks of the codec.

With random embeddings, a model learns what a code sounds like from the occurrences of this code
alone, and most of 3 x 2048 codes are rare. Initialised from the vectors of the codec, similar codes
have similar embeddings. Ours (D), measured in docs/lab/language_model.md.

Shapes: `K` codebooks, `C` codebook size, `E` width of the codec's vectors, `W` width of a table.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from .model import AudioLM

if TYPE_CHECKING:
    from ..codec.model import ALMTokenizer


@torch.no_grad()
def initialize_tables(lm: AudioLM, codec: ALMTokenizer, generator: torch.Generator) -> None:
    """Initialise the audio embeddings, those of the depth Transformer and the heads.

    Args:
        lm: an untrained model, changed in place; rows of the end of audio stay.
        codec: the codec of the model.
        generator: of the random projection of the vectors.

    Raises:
        ValueError: the codebooks of codec and model differ.
    """
    config = lm.config
    if (codec.num_codebooks, codec.codebook_size) != (config.num_codebooks, config.codebook_size):
        raise ValueError(
            f"the codec must have {config.num_codebooks} codebooks of {config.codebook_size} codes,"
            f" got {codec.num_codebooks} of {codec.codebook_size}"
        )
    vectors = code_vectors(codec)  # [K, C, E]
    table = lm.embedding.audio.weight.view(config.num_codebooks, -1, config.hidden_size)
    _initialize(table, vectors, generator)
    heads: Any = lm.heads  # of any pattern
    if isinstance(
        getattr(heads, "codes", None), nn.ModuleList
    ):  # embeddings of the previous code, by step
        for embedding, layer in zip(heads.codes, vectors, strict=False):
            _initialize(embedding.weight[None], layer[None], generator)
    for head, layer in zip(heads.out, vectors, strict=True):
        _initialize(head.weight[None], layer[None], generator)


@torch.no_grad()
def code_vectors(codec: ALMTokenizer) -> Tensor:
    """Vectors of the codes of each layer, `[K, C, E]`: centred, with partly whitened axes.

    A few principal axes (loudness, tilt) have nearly all the variance. Each axis is divided by the
    square root of its standard deviation, so that the others matter, too.
    """
    codes = torch.arange(codec.codebook_size, device=codec.device)
    layers = [layer.decode(codes).float().cpu() for layer in codec.quantizer.layers]
    vectors = torch.stack(layers)
    vectors = vectors - vectors.mean(dim=1, keepdim=True)
    flat = vectors.flatten(0, 1)
    variances, axes = torch.linalg.eigh(flat.T @ flat / len(flat))
    scale = (variances.clamp_min(1e-4 * float(variances.max()))) ** -0.25
    return vectors @ axes * scale


def _initialize(table: Tensor, vectors: Tensor, generator: torch.Generator) -> None:
    """Write projected vectors `[K, C, E]` to the first rows of a table `[K, C + .., W]`."""
    projection = torch.randn(vectors.shape[-1], table.shape[-1], generator=generator)
    if vectors.shape[-1] <= table.shape[-1]:
        projection = torch.linalg.qr(projection.T).Q.T  # orthonormal: no axis is lost
    projected = vectors @ projection
    scale = table.float().std() / projected[0].std()  # keeps the scale of the table
    table[:, : vectors.shape[1]] = (projected * scale).to(table)


_ROUNDS = 8  # of fitting the table of each codebook to the residual of the others
_PRIOR_FRAMES = 1.0  # weight of the mean of a table, in frames


@torch.no_grad()
def remap_codebooks(
    lm: AudioLM, old: Tensor, new: Tensor, *, prior_frames: float = _PRIOR_FRAMES
) -> None:
    """Replace embeddings and heads of codes by those for another codec.

    Args:
        lm: of any pattern, changed in place; rows of the end of audio stay.
        old: `[N, K]`, frames in the codes of the model.
        new: `[N, K]`, the same frames in the codes of the new codec.
        prior_frames: weight of the mean embedding in the embedding of a code, in frames.

    Raises:
        ValueError: shapes or codes do not match the model, or each other.
    """
    config, size = lm.config, lm.config.codebook_size
    for name, codes in (("old", old), ("new", new)):
        if codes.shape != (len(old), config.num_codebooks) or not len(codes):
            raise ValueError(
                f"{name} codes must be [{len(old) or 'N'}, {config.num_codebooks}], got"
                f" {list(codes.shape)}"
            )
        if int(codes.min()) < 0 or int(codes.max()) >= size:
            raise ValueError(
                f"{name} codes must be 0..{size - 1}, got {int(codes.min())}..{int(codes.max())}"
            )
    table = lm.embedding.audio.weight.view(config.num_codebooks, -1, config.hidden_size)
    # The backbone sees the sum of the codes of a frame, so the sum has to be preserved.
    _rewrite(list(table), old, new, size, prior_frames)
    heads: Any = lm.heads  # of any pattern
    tables = [head.weight for head in heads.out]
    for k, weight in enumerate(tables):
        _rewrite([weight], old[:, k : k + 1], new[:, k : k + 1], size, prior_frames)
    if isinstance(
        getattr(heads, "codes", None), nn.ModuleList
    ):  # embeddings of the previous code, by step
        for k, embedding in enumerate(heads.codes):
            _rewrite([embedding.weight], old[:, k : k + 1], new[:, k : k + 1], size, prior_frames)


def _rewrite(
    tables: list[Tensor], old: Tensor, new: Tensor, size: int, prior_frames: float
) -> None:
    """Change the first C rows of tables so that sums over `new` match those over `old` before.

    Least squares, shrunk towards the mean of each table, one table after the other. Later rows
    (end and empty) stay.
    """
    vectors = [
        table[codes].float() for table, codes in zip(tables, old.T, strict=True)
    ]  # [N, W] each
    means = [x.mean(dim=0) for x in vectors]
    fitted = [mean.repeat(size, 1) for mean in means]
    residual = torch.stack(vectors).sum(dim=0) - torch.stack(means).sum(dim=0)
    for _ in range(_ROUNDS if len(tables) > 1 else 1):
        for k, mean in enumerate(means):
            codes = new[:, k]
            residual += fitted[k][codes] - mean
            sums = torch.zeros_like(fitted[k]).index_add_(0, codes, residual)
            counts = torch.bincount(codes, minlength=size)[:, None]
            fitted[k] = mean + sums / (counts + prior_frames).clamp_min(1e-6)
            residual -= fitted[k][codes] - mean
    for table, rows in zip(tables, fitted, strict=True):
        table[:size] = rows.to(table)
