"""Where tables and heads of codes begin: codes that sound alike begin alike.

A code is a vector of the codec. A table of random rows has to find out from each code's own
occurrences what it sounds like, and of 3 x 2048 codes most occur seldom; beginning at the codec's
vectors, what is learned of one code holds for its neighbours at once. Ours (D), measured in
docs/lab/language_model.md.

Letters: `K` codebooks, `C` codebook size, `E` width of the codec's vectors, `W` width of a table.
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
    """Place the audio table, the tables of the depth Transformer and the heads by the codec.

    Args:
        lm: not trained yet; ends of audio keep their rows.
        codec: whose codes the model is to read and write.
        generator: of the directions that the vectors get in the model.

    Raises:
        ValueError: the codec has other codebooks.
    """
    config = lm.config
    if (codec.num_codebooks, codec.codebook_size) != (config.num_codebooks, config.codebook_size):
        raise ValueError(
            f"the codec has {codec.num_codebooks} codebooks of {codec.codebook_size} codes, the "
            f"language model {config.num_codebooks} of {config.codebook_size}"
        )
    sounds = code_vectors(codec)  # [K, C, E]
    table = lm.embedding.audio.weight.view(config.num_codebooks, -1, config.hidden_size)
    _place(table, sounds, generator)
    heads: Any = lm.heads  # of any pattern
    if isinstance(getattr(heads, "codes", None), nn.ModuleList):  # the code before, for each step
        for entries, vectors in zip(heads.codes, sounds, strict=False):
            _place(entries.weight[None], vectors[None], generator)
    for head, vectors in zip(heads.out, sounds, strict=True):
        _place(head.weight[None], vectors[None], generator)


@torch.no_grad()
def code_vectors(codec: ALMTokenizer) -> Tensor:
    """What the codes of each layer stand for, `[K, C, E]`: centred, loud axes damped.

    Few axes (loudness, tilt) hold nearly all variance of a codec's vectors. Each axis is divided
    by the square root of its deviation, so that the others are not drowned.
    """
    every = torch.arange(codec.codebook_size, device=codec.device)
    layers = [layer.decode(every).float().cpu() for layer in codec.quantizer.layers]
    vectors = torch.stack(layers)
    vectors = vectors - vectors.mean(dim=1, keepdim=True)
    flat = vectors.flatten(0, 1)
    variances, axes = torch.linalg.eigh(flat.T @ flat / len(flat))
    damped = (variances.clamp_min(1e-4 * float(variances.max()))) ** -0.25
    return vectors @ axes * damped


def _place(table: Tensor, vectors: Tensor, generator: torch.Generator) -> None:
    """Write vectors `[K, C, E]` over the first rows of a table `[K, C + .., W]`, at its scale."""
    width, wide = vectors.shape[-1], table.shape[-1]
    directions = torch.randn(width, wide, generator=generator)
    if width <= wide:
        directions = torch.linalg.qr(directions.T).Q.T  # no direction is lost
    placed = vectors @ directions
    size = table.float().std() / placed[0].std()
    count = vectors.shape[1]
    table[:, :count] = (placed * size).to(table)
