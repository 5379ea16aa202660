"""The language models side by side: ours by pattern, and published shapes with random weights.

Cost does not depend on the weights. Shapes are written out, so that nothing is downloaded. This
file is data: importing it loads no torch.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

_QWEN2 = {"model_type": "qwen2", "num_key_value_heads": 2, "tie_word_embeddings": True}
BACKBONES: dict[str, dict[str, Any]] = {
    # Qwen/Qwen2-0.5B: 24 layers, 494 M parameters.
    "qwen2-0.5b": {
        **_QWEN2, "vocab_size": 151_936, "hidden_size": 896, "intermediate_size": 4864,
        "num_hidden_layers": 24, "num_attention_heads": 14, "max_position_embeddings": 32_768,
        "max_window_layers": 24,
    },
    "toy": {
        **_QWEN2, "vocab_size": 300, "hidden_size": 64, "intermediate_size": 128,
        "num_hidden_layers": 2, "num_attention_heads": 4, "max_position_embeddings": 4096,
        "max_window_layers": 2,
    },
}  # fmt: skip
TOY_HEADS = {"codebook_size": 16, "depth_layers": 2, "depth_width": 32, "depth_heads": 2}


@dataclass(frozen=True, kw_only=True)
class System:
    """A model, and how its audio lies in its steps."""

    about: str
    steps_per_second: float  # of the main transformer, for one second of audio
    ours: dict[str, Any] | None = None  # fields of AudioLMConfig; None: a peer
    config: dict[str, Any] = field(default_factory=dict)  # of a peer


SYSTEMS = {
    name: System(about=f"12.5 Hz x 3, {about}", steps_per_second=12.5, ours={"pattern": name})
    for name, about in {
        "depth": "depth Transformer", "delay": "delay", "parallel": "parallel",
    }.items()
} | {
    "flat": System(about="12.5 Hz x 3, flattened", steps_per_second=37.5, ours={"pattern": "flat"}),
    "delay50": System(
        about="50 Hz x 4, delay, our backbone", steps_per_second=50.0,
        ours={"pattern": "delay", "num_codebooks": 4},
    ),
    "musicgen": System(
        about="MusicGen-small, 50 Hz x 4, delay", steps_per_second=50.0, config={
            "vocab_size": 2048, "num_hidden_layers": 24, "ffn_dim": 4096, "hidden_size": 1024,
            "num_attention_heads": 16, "num_codebooks": 4, "audio_channels": 1,
        },
    ),
    "csm": System(about="CSM-1B, 12.5 Hz x 32, depth decoder", steps_per_second=12.5),
}  # fmt: skip
# Ways to run our model; "packed" is what `generate` does by itself.
OPTIONS = ("packed", "plain", "dynamic cache", "int8", "int4", "compile", "int4 compile")
