"""Model card of a saved codec."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from ..core.model_card import write_auto_map, write_model_card
from .config import ALMTokenizerConfig

_USAGE = """\
from almtok import ALMTokenizer

codec = ALMTokenizer.from_pretrained("FOLDER").eval()
tokens = codec.tokenize("talk.wav")
wav = codec.detokenize(tokens)"""


def write_card(
    folder: str | os.PathLike[str],
    config: ALMTokenizerConfig,
    fingerprint: str,
    card: Mapping[str, Any] | None,
) -> None:
    """Write the README.md of a codec, unless there is one, and its `auto_map`."""
    write_auto_map(folder, config.auto_map, "config.json")
    rate, bits = config.query_rate(), config.bits_per_second()
    write_model_card(
        folder,
        title="ALMTokenizer codec",
        pipeline_tag="feature-extraction",
        tags=["audio-tokenizer", "neural-audio-codec", "arxiv:2504.10344"],
        facts=[
            f"{config.num_codebooks} codebooks of {config.codebook_size} entries",
            f"{rate:g} codes of each per second ({bits:.1f} bit/s), {config.sample_rate} Hz audio",
            f"fingerprint of its codes: `{fingerprint}`",
        ],
        usage=_USAGE,
        card=card,
    )
