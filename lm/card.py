"""Model card of a saved language model."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from ..core.model_card import write_auto_map, write_model_card
from .config import AudioLMConfig
from .voices import voice_facts

_USAGE = """\
from almtok import AudioLM, AudioLMProcessor

lm = AudioLM.from_pretrained("FOLDER").eval()
processor = AudioLMProcessor.from_pretrained("FOLDER")"""


def write_card(
    folder: str | os.PathLike[str],
    config: AudioLMConfig,
    num_parameters: int,
    card: Mapping[str, Any] | None,
) -> None:
    """Write the README.md of a language model, unless there is one, and its `auto_map`."""
    write_auto_map(folder, config.auto_map, "config.json")
    backbone = config.get_text_config()
    write_model_card(
        folder,
        title="AudioLM: text and codes",
        pipeline_tag="text-to-speech" if "tts" in config.tasks else "text-to-audio",
        tags=["audio-language-model", *config.tasks],
        facts=[
            f"backbone {backbone.model_type}, {config.num_hidden_layers} layers of"
            f" {config.hidden_size}; pattern `{config.pattern}`",
            f"{num_parameters / 1e6:.1f} million parameters",
            f"codes of the codec `{config.codec_fingerprint}`",
            *voice_facts(config),
        ],
        usage=_USAGE,
        card=card,
    )
