"""Small models for the public suites, with inputs."""

from __future__ import annotations

import torch

import almtok  # noqa: F401  (registers the models)
from almtok.codec.config import ALMTokenizerConfig
from almtok.lm.config import AudioLMConfig
from almtok.lm.sequences import IGNORED
from almtok.lm.vocabulary import Vocabulary

BACKBONE = dict(
    model_type="llama", vocab_size=60, hidden_size=64, intermediate_size=64, num_hidden_layers=2,
    num_attention_heads=4, num_key_value_heads=4, max_position_embeddings=512,
    tie_word_embeddings=True,
)  # fmt: skip
LANGUAGE_MODEL = dict(
    backbone=BACKBONE, codebook_size=16, num_codebooks=3, depth_layers=2, depth_width=16,
    depth_heads=2,
)  # fmt: skip
CODEC = dict(
    conv_channels=[1, 8, 16, 16, 24], hidden_size=32, encoder_layers=2, decoder_layers=2,
    num_attention_heads=2, attention_window=48, codebook_size=64, codebook_dim=8, prior_dim=12,
    patch_transformer_layers=1,
)  # fmt: skip
BATCH, TEXT, FRAMES = 3, 4, 5


def language_model_config() -> AudioLMConfig:
    return AudioLMConfig(**LANGUAGE_MODEL)


def codec_config() -> ALMTokenizerConfig:
    return ALMTokenizerConfig.preset("tiny", **CODEC)


def rows() -> dict[str, torch.Tensor]:
    """Rows of a text and of codes, `[B, L, 1+K]`, with their mask `[B, L]`."""
    config = language_model_config()
    generator = torch.Generator().manual_seed(0)
    length = TEXT + FRAMES
    ids = torch.full((BATCH, length, 1 + config.num_codebooks), config.codebook_size + 1)
    ids[:, :TEXT, 0] = torch.randint(2, config.vocab_size, (BATCH, TEXT), generator=generator)
    ids[:, TEXT:, 0] = Vocabulary(config).text_empty
    codes = (BATCH, FRAMES, config.num_codebooks)
    ids[:, TEXT:, 1:] = torch.randint(config.codebook_size, codes, generator=generator)
    return {"input_ids": ids, "attention_mask": torch.ones(BATCH, length, dtype=torch.long)}


def labels(ids: torch.Tensor) -> torch.Tensor:
    """Labels `[B, L, 1+K]`: all ids of text and all codes."""
    config = language_model_config()
    sizes = torch.tensor([config.vocab_size, *[config.codebook_size + 1] * config.num_codebooks])
    return ids.where(ids < sizes, IGNORED)


def waveforms() -> dict[str, torch.Tensor]:
    """Noise `[B, 1, S]`."""
    generator = torch.Generator().manual_seed(0)
    return {"input_values": torch.randn(BATCH, 1, 4000, generator=generator).clamp(-1, 1)}
