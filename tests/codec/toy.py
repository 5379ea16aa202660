"""A toy codec whose codes mean something: shared by the codec's contract tests."""

import torch

import almtok  # noqa: F401  (the torchaudio guard, before transformers)
from almtok.codec.config import ALMTokenizerConfig
from almtok.codec.model import ALMTokenizer


def toy_config(**overrides) -> ALMTokenizerConfig:
    values = dict(
        conv_channels=[1, 8, 16, 16, 24], hidden_size=32, encoder_layers=2, decoder_layers=2,
        num_attention_heads=2, attention_window=48, codebook_size=64, codebook_dim=8, prior_dim=12,
        patch_transformer_layers=1, layer_scale=0.5, frames_per_query_range=[2, 10],
    )  # fmt: skip
    return ALMTokenizerConfig.preset("tiny", **{**values, **overrides})


def toy_codec(seed: int = 0, **overrides) -> ALMTokenizer:
    """An untrained codec with codebooks placed on its own queries, so that all codes occur."""
    torch.manual_seed(seed)
    codec = ALMTokenizer(toy_config(**overrides))
    # Wide query maps: an untrained encoder says nearly the same for every sound otherwise.
    with torch.no_grad():
        codec.encoder.output.weight.mul_(4)
        wav = noise(8, 48_000, seed=seed + 1)
        queries = codec.encoder(codec.patchify(wav[..., : 144 * 320]), 6)
        codec.quantizer.initialize(queries.reshape(-1, codec.config.hidden_size))
    return codec.eval()


def noise(batch: int, samples: int, seed: int = 0) -> torch.Tensor:
    """Noise whose level and colour change every 50 ms, `[B, 1, S]`."""
    generator = torch.Generator().manual_seed(seed)
    wav = torch.randn(batch, 1, samples, generator=generator)
    smooth = (wav + wav.roll(1, -1) + wav.roll(2, -1)) / 3
    count = samples // 1200 + 1
    level = torch.rand(batch, 1, count, generator=generator).repeat_interleave(1200, -1)
    colour = torch.rand(batch, 1, count, generator=generator).repeat_interleave(1200, -1)
    level, colour = level[..., :samples], colour[..., :samples]
    return 0.5 * level * (colour * wav + (1 - colour) * smooth)
