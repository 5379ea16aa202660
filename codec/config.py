"""ALMTokenizerConfig: all hyperparameters of the codec, and derived rates.

Each value has the grade of its source in `docs/paper.md`: A confirmed, B one reader of the paper,
C inferred, D our default. Values of grade C or D must not be presented as the paper's.
"""

# No `from __future__ import annotations` here: @strict needs the evaluated annotations.
import math
from typing import Any, Literal

from transformers import PreTrainedConfig

from ..core.model_card import auto_map
from ..core.model_config import StrictConfig, check_numbers, strict

AttentionMode = Literal["block_causal", "causal", "full"]
PatchifyKind = Literal["conv", "linear"]
PoolingKind = Literal["queries", "mean"]
UnpatchifyKind = Literal["mirror", "harmonic", "istft"]

PRESETS: dict[str, dict[str, Any]] = {
    # For tests and the demo: trains in minutes on two CPU cores.
    "tiny": dict(
        strides=[8, 5, 4, 2], conv_channels=[1, 24, 48, 64, 96], hidden_size=96,
        encoder_layers=2, decoder_layers=3, num_attention_heads=4, attention_window=128,
        layer_scale=0.3,
        codebook_size=256, codebook_dim=96, prior_dim=128, patch_transformer_layers=1,
        codebook_decay=0.95,
    ),
    # For CPUs: 11 M parameters, many times faster than real time on two cores.
    "mini": dict(
        strides=[8, 5, 4, 2], conv_channels=[1, 64, 128, 256, 256], hidden_size=256,
        encoder_layers=4, decoder_layers=6, num_attention_heads=4, attention_window=256,
        layer_scale=0.3,
        codebook_dim=256, prior_dim=128, patch_transformer_layers=2,
        codebook_decay=0.95, unpatchify="harmonic",
    ),
    # For one GPU.
    "base": dict(
        strides=[8, 5, 4, 2], conv_channels=[1, 128, 256, 384, 512], hidden_size=512,
        encoder_layers=8, decoder_layers=8, attention_window=256, patch_transformer_layers=4,
    ),
    # 165 M parameters (the paper reports 174 M, B; 24 + 24 layers of width 512 are inferred, C).
    "paper": dict(),
}  # fmt: skip


_MAY_BE_ZERO = (
    "encoder_layers",
    "lstm_layers",
    "decoder_layers",
    "patch_transformer_layers",
    "num_residual_units",
)


@strict
class ALMTokenizerConfig(StrictConfig, PreTrainedConfig):
    """Configuration of :class:`ALMTokenizer`; the defaults are the `paper` preset.

    Unknown fields and values of another type are refused; what transformers itself adds to a saved
    `config.json` is loaded. Derived numbers (`hop_length`,
    `frame_rate`, `query_rate`, `bits_per_second`) are properties, never stored.
    """

    model_type = "almtokenizer"
    auto_map = auto_map(
        AutoConfig="ALMTokenizerConfig",
        AutoModel="ALMTokenizer",
        AutoModelForAudioTokenization="ALMTokenizer",
    )

    # Signal (paper.md 2.1)
    sample_rate: int = 24_000  # A
    strides: list[int] | tuple[int, ...] = (2, 4, 5, 8)  # C: EnCodec's, hop 320, 75 frames/s
    frames_per_query: int = 6  # C: w = 6 gives the paper's 12.5 Hz (A) at 75 frames/s
    frames_per_query_range: list[int] | tuple[int, ...] = (
        2,
        10,
    )  # B-: range from which training draws w

    # Patchify and UnPatchify (paper.md 2.1)
    patchify: PatchifyKind = "conv"  # A: EnCodec style; "linear" is the stated alternative (A)
    # D: channels at the sample rate, then after each stride. With a first entry of 1 the waveform
    # is the input of the first strided layer, which is much faster on a CPU.
    conv_channels: list[int] | tuple[int, ...] = (32, 64, 128, 256, 512)
    conv_kernel_size: int = 7  # D: EnCodec's first and last kernel
    residual_kernel_size: int = 3  # D
    num_residual_units: int = 1  # D
    # D: EnCodec has two behind its last stride, and two in the mirror; 0: none.
    # With two, `paper` has 173 M parameters; 174 M are reported (B).
    lstm_layers: int = 0
    weight_norm: bool = True  # D
    patch_transformer_layers: int = 6  # D: depth of the Transformer in the linear variant
    normalize_frames: bool = True  # D: zero mean, unit variance per channel
    # A: "mirror", transposed convolutions (or Transformer and reshape). Ours (D): "harmonic", the
    # harmonic-plus-noise vocoder of vocoder.py, for small budgets; "istft", ConvNeXt blocks and an
    # inverse STFT (istft.py).
    unpatchify: UnpatchifyKind = "mirror"
    num_pitches: int = 192  # D, ours: 22 cents apart
    harmonic_bands: int = 80  # D, ours
    istft_width: int | None = None  # D, ours; defaults to hidden_size
    istft_layers: int = 4  # D, ours
    istft_hops: int = 2  # D, ours: hops per window

    # Query encoder and decoder (paper.md 2.1 and 2.2)
    hidden_size: int = 512  # C: width of frames and queries
    encoder_hidden_size: int | None = None  # C: defaults to hidden_size
    decoder_hidden_size: int | None = None  # C: defaults to hidden_size
    encoder_layers: int = 24  # C
    decoder_layers: int = 24  # C
    num_attention_heads: int = 8  # D
    ffn_ratio: int = 4  # D
    # A: "queries"; "mean": queries are means of their windows, for comparison (paper.md 7.2).
    pooling: PoolingKind = "queries"
    attention_mode: AttentionMode = "block_causal"  # A-/C: causal with a sliding window
    # D, ours: frames and masks carry the distance to their query (WindowPositionEmbedding).
    window_positions: bool = True
    attention_window: int = 512  # D: positions of the interleaved sequence, about 5.9 s
    rope_theta: float = 10_000.0  # D
    # D: Mimi's value, for deep stacks and long trainings; shallow presets that train for minutes or
    # hours start with larger values.
    layer_scale: float = 0.01
    initializer_range: float = 0.02  # D

    # Quantizer (paper.md 3 and 4)
    num_codebooks: int = 3  # A
    codebook_size: int = 2048  # A
    codebook_dim: int = 256  # B-; if it equals hidden_size, layers have no projections
    normalize_queries: bool = True  # D: per channel, see batch_normalizer.py
    prior_dim: int = 768  # D: width of the semantic teachers behind the first codebook
    # B: "first": the first codebook is the semantic prior, frozen; "none": it is learned like the
    # others; "all": every codebook is the prior, frozen (another reading of the paper).
    prior_codebooks: Literal["first", "none", "all"] = "first"
    # D: as in EnCodec and Mimi; small presets have few tokens per step and fast-moving queries, and
    # a slow average collapses.
    codebook_decay: float = 0.99
    dead_code_ratio: float = 0.1  # D: entries used less than this share of the average are dead
    commitment_weight: float = 1.0  # D: layers with EMA codebooks
    prior_commitment_weight: float = 0.25  # D: layers with a frozen codebook
    quantizer_dropout: float = 0.0  # D: share of steps with fewer layers; off

    @classmethod
    def preset(cls, name: str, **overrides: Any) -> "ALMTokenizerConfig":
        """Return a preset (`tiny`, `mini`, `base`, `paper`), with fields overridden."""
        if name not in PRESETS:
            raise ValueError(f"preset must be one of {', '.join(PRESETS)}, got {name!r}")
        return cls(**{**PRESETS[name], **overrides})

    def __post_init__(self, **kwargs: Any) -> None:
        check_numbers(self, may_be_zero=_MAY_BE_ZERO)
        super().__post_init__(**kwargs)
        self.strides = list(self.strides)  # as in JSON, which has no tuples
        self.frames_per_query_range = list(self.frames_per_query_range)
        self.conv_channels = list(self.conv_channels)
        if self.patchify == "conv" and len(self.conv_channels) != len(self.strides) + 1:
            raise ValueError(
                f"conv_channels must have {len(self.strides) + 1} entries, one more than strides,"
                f" got {len(self.conv_channels)}"
            )
        if len(self.frames_per_query_range) != 2:
            raise ValueError(
                f"frames_per_query_range must be two numbers; came {self.frames_per_query_range}"
            )
        if self.lstm_layers and self.patchify != "conv":
            raise ValueError(
                f"lstm_layers must be 0 for patchify {self.patchify!r}, got {self.lstm_layers}"
            )
        if self.istft_hops < 2:
            raise ValueError(f"istft_hops must be at least 2, got {self.istft_hops}")
        low, high = self.frames_per_query_range
        if not 1 <= low <= high or self.frames_per_query < 1:
            raise ValueError(
                "frames_per_query must be positive and its range ordered, got"
                f" {self.frames_per_query} and {tuple(self.frames_per_query_range)}"
            )
        for part, width in (("encoder", self.encoder_width), ("decoder", self.decoder_width)):
            if width % (2 * self.num_attention_heads):
                raise ValueError(
                    f"{part} width must be a multiple of {2 * self.num_attention_heads}, twice the"
                    f" attention heads (RoPE rotates pairs of channels), got {width}"
                )
        if self.attention_window < high + 1:
            raise ValueError(
                f"attention_window must be at least {high + 1} ({high} frames and their query), got"
                f" {self.attention_window}"
            )

    @property
    def encoder_width(self) -> int:
        """Width of the query encoder."""
        return self.encoder_hidden_size or self.hidden_size

    @property
    def decoder_width(self) -> int:
        """Width of the query decoder."""
        return self.decoder_hidden_size or self.hidden_size

    @property
    def hop_length(self) -> int:
        """Samples per frame (320)."""
        return math.prod(self.strides)

    @property
    def frame_rate(self) -> float:
        """Frames per second before the queries (75.0)."""
        return self.sample_rate / self.hop_length

    def query_rate(self, frames_per_query: int | None = None) -> float:
        """Queries, that is columns of codes, per second (12.5 at w = 6)."""
        return self.frame_rate / (frames_per_query or self.frames_per_query)

    def bits_per_second(self, frames_per_query: int | None = None) -> float:
        """Nominal bit rate (412.5 at w = 6, three codebooks of 2048)."""
        return (
            self.query_rate(frames_per_query) * self.num_codebooks * math.log2(self.codebook_size)
        )

    @property
    def sampling_rate(self) -> int:
        """The Hugging Face name of `sample_rate`."""
        return self.sample_rate
