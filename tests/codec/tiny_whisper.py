"""A Whisper of random weights that fits into a test."""

from pathlib import Path
from typing import Any

import torch
from transformers import WhisperConfig, WhisperModel

SIZES = {
    "d_model": 16,
    "encoder_layers": 3,
    "decoder_layers": 1,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 24,
    "decoder_ffn_dim": 24,
    "vocab_size": 32,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "decoder_start_token_id": 3,
    "max_source_positions": 200,
    "max_target_positions": 8,
}


def save_whisper(folder: Path, **changes: Any) -> str:
    """Write the model to a folder; four seconds are its longest input."""
    torch.manual_seed(0)
    model = WhisperModel(WhisperConfig(**{**SIZES, **changes}))
    with torch.no_grad():  # the initial weights of 0.02 would say nothing
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(10)
    model.save_pretrained(folder)
    return str(folder)
