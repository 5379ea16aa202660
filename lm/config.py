"""AudioLMConfig: a causal backbone, and what is added to it for audio codes.

Values that the ALMTokenizer paper does not state carry their grade (`paper.md` 8): A confirmed,
B one reader of the paper, C inferred, D our default.
"""

# No `from __future__ import annotations` here: @strict checks types by the real annotations.
from typing import Any, Literal

from transformers import AutoConfig, PreTrainedConfig

from ..core.model_card import auto_map
from ..core.model_config import StrictConfig, check_backbone, check_numbers, strict

Pattern = Literal["depth", "delay", "parallel", "flat"]

# Default tasks in the order of their control tokens. The order is part of the checkpoint format: do
# not change it. A new task needs no entry: a model that is trained on it uses a spare token.
TASKS = (
    "tts",
    "asr",
    "text_to_audio",
    "text_to_music",
    "audio_caption",
    "music_caption",
    "continuation",
)
# Control tokens for further tasks, so that the embedding table keeps its size.
NUM_SPARE_TASKS = 9
# Rates are control tokens too: one for each window length w up to this (12.5 Hz is w = 6).
MAX_FRAMES_PER_QUERY = 16

PRESETS: dict[str, dict[str, Any]] = {
    # Tests and the demo.
    "tiny": dict(
        backbone=dict(
            model_type="llama", vocab_size=512, hidden_size=192, intermediate_size=512,
            num_hidden_layers=4, num_attention_heads=4, num_key_value_heads=4,
            max_position_embeddings=2048, tie_word_embeddings=True,
        ),
        codebook_size=256, depth_layers=2, depth_width=128, depth_heads=4,
    ),
    # For a CPU: about 12 M parameters.
    "mini": dict(
        backbone=dict(
            model_type="llama", vocab_size=1024, hidden_size=320, intermediate_size=864,
            num_hidden_layers=8, num_attention_heads=5, num_key_value_heads=5,
            max_position_embeddings=4096, tie_word_embeddings=True,
        ),
        depth_layers=2, depth_width=192, depth_heads=4,
    ),
    # One GPU, from scratch.
    "small": dict(
        backbone=dict(
            model_type="llama", vocab_size=8192, hidden_size=768, intermediate_size=2048,
            num_hidden_layers=16, num_attention_heads=12, num_key_value_heads=4,
            max_position_embeddings=8192, tie_word_embeddings=True,
        ),
    ),
}  # fmt: skip


def _of_backbone(name: str, doc: str) -> Any:
    """A property of :class:`AudioLMConfig` that reads and sets a field of the backbone."""

    def read(self: "AudioLMConfig") -> Any:
        return getattr(self._text, name)

    def write(self: "AudioLMConfig", value: Any) -> None:
        setattr(self._text, name, value)

    return property(read, write, doc=doc)


@strict
class AudioLMConfig(StrictConfig, PreTrainedConfig):
    """Configuration of :class:`AudioLM`.

    Unknown fields and values of another type are refused; what transformers itself adds to a saved
    `config.json` is loaded. Sizes and special tokens are those of the backbone.
    """

    model_type = "almtok_lm"
    auto_map = auto_map(
        AutoConfig="AudioLMConfig",
        AutoModel="AudioLM",
        AutoModelForTextToWaveform="AudioLM",
        AutoModelForSpeechSeq2Seq="AudioLM",
    )
    sub_configs = {"backbone": AutoConfig}
    # Predictions of the Trainer are the rest: (text_logits, audio_logits).
    keys_to_ignore_at_inference = [
        "losses", "accuracies", "streams", "ctc", "hidden", "cache", "hidden_states",
    ]  # fmt: skip

    # Any causal text model of transformers; a dict with its `model_type` becomes its config.
    backbone: dict[str, Any] | PreTrainedConfig | None = None
    num_codebooks: int = 3  # A
    codebook_size: int = 2048  # A
    pattern: Pattern = "depth"  # A-: the paper's; "delay", "parallel" and "flat" to compare

    # Depth Transformer over the codes of one frame (pattern "depth")
    # D: the paper has 6 (A) of width 1024 (C) for a backbone of 1 B, see depth_sizes
    depth_layers: int = 4
    depth_width: int = 512  # D
    depth_heads: int = 8  # D
    depth_ffn_ratio: int = 4  # C
    # C: codes after the first lie one row later (Moshi, RSTnet): their row knows the frame's first
    # code through the backbone too. Off (D).
    depth_delay: bool = False

    # Rows of the conditions attend to each other, not only to earlier rows (prefix_lm_mask.py).
    bidirectional_conditions: bool = False  # D

    # Loss
    first_codebook_weight: float = 2.0  # C: the first code of a frame counts double
    text_weight: float = 1.0  # D: text targets, beside audio targets of the same batch
    ctc_weight: float = 0.0  # D: of the auxiliary CTC loss, see ctc.py
    label_smoothing: float = 0.0  # D: share of a target spread over all values, in training
    condition_dropout: float = 0.1  # D: share of examples trained without condition, for guidance

    # Names of the tasks by control token, and the fingerprints of the codec and of the vocabulary
    tasks: list[str] | tuple[str, ...] = TASKS
    codec_fingerprint: str | None = None
    tokenizer_fingerprint: str | None = None
    # Level (RMS of active frames, dBFS) of the training data, to which inputs are normalised too.
    # None: no normalisation.
    loudness_dbfs: float | None = None
    # Names of the voices by control token (lm/voices.py); the first one is the default of TTS.
    # Their order is part of the checkpoint format.
    voices: list[str] | tuple[str, ...] = ()
    # Whether TTS may be given a recording to imitate: False if the voices that the model makes of
    # recordings are not those of the recordings.
    supports_cloning: bool = True
    initializer_range: float = 0.02  # D

    @classmethod
    def preset(cls, name: str, **overrides: Any) -> "AudioLMConfig":
        """Return a named size (`tiny`, `mini`, `small`), with fields replaced.

        A dict given for `backbone` replaces single fields of the preset's backbone.
        """
        if name not in PRESETS:
            raise ValueError(f"preset must be one of {', '.join(PRESETS)}, got {name!r}")
        values = {**PRESETS[name], **overrides}
        if isinstance(overrides.get("backbone"), dict):
            values["backbone"] = {**PRESETS[name]["backbone"], **overrides["backbone"]}
        return cls(**values)

    def __post_init__(self, **kwargs: Any) -> None:
        check_numbers(self, may_be_zero=("depth_layers",))
        # JSON knows no tuples; keep one form in memory too
        self.tasks, self.voices = list(self.tasks), list(self.voices)
        self.backbone = _as_config(self.backbone)
        super().__post_init__(**kwargs)
        if len(set(self.tasks)) != len(self.tasks) or len(self.tasks) > self.num_task_slots:
            raise ValueError(
                f"tasks must be different and at most {self.num_task_slots}, got {self.tasks}"
            )
        if len(set(self.voices)) != len(self.voices) or not all(self.voices):
            raise ValueError(f"voices must be different names, got {self.voices}")
        if not 0 <= self.label_smoothing < 1:
            raise ValueError(f"label_smoothing must lie in [0, 1), got {self.label_smoothing}")
        if self.depth_delay and self.pattern != "depth":
            raise ValueError(f"depth_delay is for pattern 'depth', got {self.pattern!r}")
        if self.depth_width % self.depth_heads:
            raise ValueError(
                f"depth_width must be a multiple of depth_heads ({self.depth_heads}), got"
                f" {self.depth_width}"
            )

    @property
    def num_task_slots(self) -> int:
        """Number of control tokens for tasks, used or spare."""
        return len(TASKS) + NUM_SPARE_TASKS

    # Under transformers' common names. Set token ids, as the Trainer does, go to the backbone.
    hidden_size = _of_backbone("hidden_size", "Width of the backbone.")
    vocab_size = _of_backbone("vocab_size", "Text ids of the backbone.")
    num_hidden_layers = _of_backbone("num_hidden_layers", "Layers of the backbone.")
    num_attention_heads = _of_backbone("num_attention_heads", "Heads of the backbone.")
    bos_token_id = _of_backbone("bos_token_id", "First id of a text.")
    eos_token_id = _of_backbone("eos_token_id", "End of a text.")
    pad_token_id = _of_backbone("pad_token_id", "Id that pads texts, the blank of CTC.")

    def get_text_config(self, decoder: Any = None, encoder: Any = None) -> Any:
        """The configuration of the backbone's text decoder; itself without a backbone."""
        return self if self.backbone is None else self._text

    @property
    def max_positions(self) -> int:
        """Maximum number of positions of the backbone."""
        return getattr(self._text, "max_position_embeddings", 1_000_000)

    @property
    def _text(self) -> Any:
        if self.backbone is None:
            raise ValueError("this AudioLMConfig has no backbone; start from AudioLMConfig.preset")
        return self.backbone.get_text_config()  # type: ignore[union-attr]


def depth_sizes(hidden_size: int) -> dict[str, int]:
    """Sizes of the depth Transformer for a pretrained backbone, by the backbone's width.

    6 layers (A); half the width, at most 1024, in heads of 64 channels (C): for LLaMA 3.2 1B, whose
    width is 2048, the paper's 1024 with 16 heads.

    Example:
        >>> depth_sizes(2048)
        {'depth_layers': 6, 'depth_width': 1024, 'depth_heads': 16}
    """
    heads = min(16, max(1, hidden_size // 128))
    return {"depth_layers": 6, "depth_width": 64 * heads, "depth_heads": heads}


def _as_config(backbone: Any) -> PreTrainedConfig | None:
    if not isinstance(backbone, dict):
        return backbone
    if "model_type" not in backbone:
        raise ValueError(f"backbone needs a model_type (llama, qwen2, ...), got {backbone}")
    check_backbone(backbone)
    values = {name: value for name, value in backbone.items() if name != "model_type"}
    return AutoConfig.for_model(backbone["model_type"], **values)
