"""The BEATs encoder, with the weight names of the official checkpoints.

wav [B,S] -fbank-> [B,F,128] -patches-> [B,N,E] -project-> [B,N,C] -positions, layers-> [B,N,C]

Sources: Chen et al. 2022 (arXiv 2212.09058) and the behaviour of microsoft/unilm ``beats`` (MIT).

Shapes: ``B`` clips, ``S`` samples at 16 kHz, ``F`` 10 ms frames, ``T`` time steps of 160 ms,
``N`` = 8 T tokens (time-major: token 8 t + f, f = 0 the lowest band), ``E`` patch width,
``C`` width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .beats_attention import RelativeAttention
from .beats_config import BEATsConfig
from .fbank import BINS, HOP, normalized_fbank, num_frames

PATCH = 16
BANDS = BINS // PATCH  # tokens of a time step
STEP = PATCH * HOP  # samples between two time steps
MIN_SAMPLES = 2800  # 16 frames


@dataclass(frozen=True)
class BEATsOutput:
    """Output of the encoder."""

    last: Tensor  # [B, N, C], output of the last layer
    layers: tuple[Tensor, ...]  # each [B, N, C]: the input of layer 0, then each layer's output
    token_mask: Tensor | None  # [B, N] bool, True for padding


def num_steps(samples: int) -> int:
    """Return how many 160 ms time steps a clip of ``samples`` gives."""
    return num_frames(samples) // PATCH


def reduce_mask(mask: Tensor, length: int) -> Tensor:
    """Shorten a padding mask [B, n] to [B, length] like the reference implementation.

    Batches use ``length_mask`` instead: here blocks are not aligned with frames, and a clip has
    more tokens in a batch than alone.
    """
    block = mask.shape[1] // length
    return mask[:, : block * length].unflatten(1, (length, block)).all(-1)


def length_mask(samples: Sequence[int], device: torch.device | str = "cpu") -> Tensor:
    """Return the padding mask [B, N] that makes clips independent of others in the batch."""
    steps = torch.tensor([num_steps(count) for count in samples], device=device)
    tokens = torch.arange(int(steps.max()) * BANDS, device=device)
    return tokens >= steps[:, None] * BANDS


class PositionalConv(nn.Module):
    """Grouped convolution over tokens with weight normalisation per tap."""

    def __init__(self, *, width: int, taps: int, groups: int) -> None:
        super().__init__()
        self.groups = groups
        self.weight_g = nn.Parameter(torch.ones(1, 1, taps))
        self.weight_v = nn.Parameter(torch.randn(width, width // groups, taps) * 0.02)
        self.bias = nn.Parameter(torch.zeros(width))

    @property
    def weight(self) -> Tensor:
        """The effective weight [C, C / groups, K]."""
        norm = self.weight_v.square().sum((0, 1), keepdim=True).sqrt()
        return self.weight_g * self.weight_v / norm

    def forward(self, tokens: Tensor) -> Tensor:
        """[B, C, N] -> [B, C, N]; output n depends on tokens n - K/2 .. n + K/2 - 1."""
        taps = self.weight_v.shape[2]
        out = F.conv1d(tokens, self.weight, self.bias, padding=taps // 2, groups=self.groups)
        return out[..., : tokens.shape[-1]]  # an even kernel has one extra output, the last


class BEATsLayer(nn.Module):
    """Attention and feed-forward with layer norm after each (scaled) residual connection."""

    def __init__(self, config: BEATsConfig, bias_table: nn.Embedding | None) -> None:
        super().__init__()
        width = config.encoder_embed_dim
        self.scale = config.residual_scale
        self.self_attn = RelativeAttention(
            width=width,
            num_heads=config.encoder_attention_heads,
            relative_attention_bias=bias_table,
            max_distance=config.max_distance,
            gated=config.gru_rel_pos and bias_table is not None,
        )
        self.self_attn_layer_norm = nn.LayerNorm(width)
        self.fc1 = nn.Linear(width, config.encoder_ffn_embed_dim)
        self.fc2 = nn.Linear(config.encoder_ffn_embed_dim, width)
        self.final_layer_norm = nn.LayerNorm(width)

    def forward(self, x: Tensor, position_bias: Tensor | None, mask: Tensor | None) -> Tensor:
        """[B, N, C] -> [B, N, C]."""
        x = self.self_attn_layer_norm(self.scale * x + self.self_attn(x, position_bias, mask))
        return self.final_layer_norm(self.scale * x + self.fc2(F.gelu(self.fc1(x))))


class BEATsEncoder(nn.Module):
    """Positional convolution and Transformer layers."""

    def __init__(self, config: BEATsConfig) -> None:
        super().__init__()
        width = config.encoder_embed_dim
        # A Sequential for the official weight name encoder.pos_conv.0.
        self.pos_conv = nn.Sequential(
            PositionalConv(width=width, taps=config.conv_pos, groups=config.conv_pos_groups)
        )
        self.layer_norm = nn.LayerNorm(width)
        self.relative = config.relative_position_embedding
        table = None
        if self.relative:
            table = nn.Embedding(config.num_buckets, config.encoder_attention_heads)
        self.layers = nn.ModuleList(BEATsLayer(config, table) for _ in range(config.encoder_layers))

    def positions(self, tokens: Tensor) -> Tensor:
        """Return the positional branch [B, N, C]."""
        return F.gelu(self.pos_conv(tokens.transpose(1, 2))).transpose(1, 2)

    def forward(self, tokens: Tensor, token_mask: Tensor | None = None) -> BEATsOutput:
        """Encode tokens [B, N, C]; those where ``token_mask`` [B, N] is True are padding."""
        if token_mask is not None:
            tokens = tokens.masked_fill(token_mask[..., None], 0)
        x = self.layer_norm(tokens + self.positions(tokens))
        bias = None
        if self.relative:  # all layers share one table
            attention = cast(BEATsLayer, self.layers[0]).self_attn
            bias = attention.position_bias(x.shape[1])
        outputs = [x]
        for layer in self.layers:
            outputs.append(layer(outputs[-1], bias, token_mask))
        return BEATsOutput(outputs[-1], tuple(outputs), token_mask)


class BEATs(nn.Module):
    """Audio spectrogram Transformer of Chen et al. 2022; weights named as in official files.

    Example:
        >>> model = BEATs(BEATsConfig(encoder_layers=1, encoder_embed_dim=32, embed_dim=16,
        ...     encoder_attention_heads=2, encoder_ffn_embed_dim=32, conv_pos_groups=4)).eval()
        >>> [step.shape for step in model.step_features([torch.randn(16000), torch.randn(4000)])]
        [torch.Size([6, 32]), torch.Size([1, 32])]
    """

    def __init__(self, config: BEATsConfig) -> None:
        super().__init__()
        self.config = config
        self.patch_embedding = nn.Conv2d(
            1, config.embed_dim, PATCH, stride=PATCH, bias=config.conv_bias
        )
        self.layer_norm = nn.LayerNorm(config.embed_dim)
        width = config.encoder_embed_dim
        self.post_extract_proj = (
            nn.Linear(config.embed_dim, width) if config.embed_dim != width else None
        )
        self.encoder = BEATsEncoder(config)
        self.predictor = (
            nn.Linear(width, config.predictor_class) if config.finetuned_model else None
        )

    def embed(self, fbank: Tensor) -> Tensor:
        """Return the tokens [B, N, C] of normalised filter banks [B, F, 128]."""
        if fbank.shape[1] < PATCH:
            raise ValueError(f"BEATs needs at least {PATCH} frames, got {fbank.shape[1]}")
        patches = self.patch_embedding(fbank[:, None])  # [B, E, T, 8]
        tokens = self.layer_norm(patches.flatten(2).transpose(1, 2))  # [B, N, E]
        return tokens if self.post_extract_proj is None else self.post_extract_proj(tokens)

    def forward(self, fbank: Tensor, token_mask: Tensor | None = None) -> BEATsOutput:
        """Encode normalised filter banks [B, F, 128], with a padding mask [B, N] or none."""
        return self.encoder(self.embed(fbank), token_mask)

    def class_probabilities(self, output: BEATsOutput) -> Tensor:
        """Return the AudioSet probabilities [B, classes] of a fine-tuned model."""
        if self.predictor is None:
            raise ValueError("class probabilities need a fine-tuned BEATs, got a pre-trained one")
        logits = self.predictor(output.last)
        if output.token_mask is None:
            return logits.mean(1).sigmoid()
        kept = ~output.token_mask
        logits = logits.masked_fill(output.token_mask[..., None], 0)
        return (logits.sum(1) / kept.sum(1)[:, None]).sigmoid()

    def step_features(self, wavs: Sequence[Tensor], layers: Sequence[int] = ()) -> list[Tensor]:
        """Return one vector per 160 ms: the mean over the 8 tokens of a time step.

        Args:
            wavs: clips [S] float32 in [-1, 1] at 16 kHz, 2800 samples or more each.
            layers: layers to average, from 1 (0 is the input of the first layer); empty: the last.

        Returns:
            [T, C] for each clip, independent of the other clips.
        """
        lengths = [wav.shape[-1] for wav in wavs]
        if min(lengths) < MIN_SAMPLES:
            raise ValueError(f"BEATs needs at least {MIN_SAMPLES} samples, got {min(lengths)}")
        padded = nn.utils.rnn.pad_sequence(list(wavs), batch_first=True)  # [B, S]
        mask = length_mask(lengths, padded.device) if len(set(lengths)) > 1 else None
        output = self(normalized_fbank(padded), mask)
        chosen = [output.layers[layer] for layer in layers] or [output.last]
        steps = torch.stack(chosen).mean(0).unflatten(1, (-1, BANDS)).mean(2)  # [B, T, C]
        return [row[: num_steps(count)] for row, count in zip(steps, lengths, strict=True)]
