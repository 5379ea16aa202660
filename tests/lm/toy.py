"""A toy language model, shared by the tests of `lm` and `tasks`."""

import torch

import almtok  # noqa: F401  (the torchaudio guard, before transformers)
from almtok.lm.config import AudioLMConfig
from almtok.lm.model import AudioLM
from almtok.lm.sequences import AudioSegment, Example, TextSegment

PATTERNS = ("depth", "depth_delay", "delay", "parallel", "flat")
EOS = 1  # the end token of toy texts


def toy_config(**overrides) -> AudioLMConfig:
    values = dict(
        backbone=dict(
            model_type="llama", vocab_size=60, hidden_size=32, intermediate_size=64,
            num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=1,
            max_position_embeddings=512, tie_word_embeddings=True,
        ),
        codebook_size=16, num_codebooks=3, depth_layers=2, depth_width=16, depth_heads=2,
    )  # fmt: skip
    if overrides.get("pattern") == "depth_delay":
        overrides = {**overrides, "pattern": "depth", "depth_delay": True}
    return AudioLMConfig(**{**values, **overrides})


def toy_lm(seed: int = 0, **overrides) -> AudioLM:
    torch.manual_seed(seed)
    return AudioLM(toy_config(**overrides)).eval()


def toy_codes(count: int, seed: int = 0, num_codebooks: int = 3, size: int = 16) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(size, (num_codebooks, count), generator=generator)


def toy_example(task: str = "tts", count: int = 9, seed: int = 0, **codes) -> Example:
    """An example with `count` frames of codes and five text ids; asr has its target last."""
    generator = torch.Generator().manual_seed(seed + 99)
    text = TextSegment(tuple(torch.randint(2, 60, (5,), generator=generator).tolist()))
    audio = AudioSegment(toy_codes(count, seed, **codes))
    segments = (audio, text) if task in ("asr", "audio_caption") else (text, audio)
    return Example(task, segments, frames_per_query=6)
