"""Judges with random weights, made of the real classes."""

import almtok  # noqa: F401, I001

import json

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, decoders
from transformers import (
    PreTrainedTokenizerFast,
    Wav2Vec2FeatureExtractor,
    WavLMConfig,
    WavLMForXVector,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
)

WORDS = [f"Ġw{number}" for number in range(100)]
SPECIAL = ["<|endoftext|>", "<|startoftranscript|>", "<|en|>", "<|de|>", "<|transcribe|>",
           "<|notimestamps|>"]  # fmt: skip


def save_whisper(folder, *, multilingual=True, spelling=None):
    """Save a Whisper with random weights that writes some of 100 words."""
    torch.manual_seed(0)
    ids = {token: number for number, token in enumerate([*WORDS, *SPECIAL])}
    config = WhisperConfig(
        vocab_size=len(ids), num_mel_bins=80, d_model=32, encoder_layers=1, decoder_layers=1,
        encoder_attention_heads=2, decoder_attention_heads=2, encoder_ffn_dim=64,
        decoder_ffn_dim=64, max_source_positions=1500, max_target_positions=24,
        pad_token_id=ids["<|endoftext|>"], bos_token_id=ids["<|endoftext|>"],
        eos_token_id=ids["<|endoftext|>"], decoder_start_token_id=ids["<|startoftranscript|>"],
        suppress_tokens=None, begin_suppress_tokens=None, init_std=0.4,
    )  # fmt: skip
    model = WhisperForConditionalGeneration(config)
    generation = model.generation_config
    generation._from_model_config = False  # or it would be made anew when it is loaded
    generation.max_length = 20
    generation.is_multilingual = multilingual
    generation.no_timestamps_token_id = ids["<|notimestamps|>"]
    generation.suppress_tokens = list(range(100, 106))
    if multilingual:
        generation.lang_to_id = {"<|en|>": ids["<|en|>"], "<|de|>": ids["<|de|>"]}
        generation.task_to_id = {"transcribe": ids["<|transcribe|>"]}
    model.save_pretrained(folder)
    tokenizer = Tokenizer(models.BPE(vocab=ids, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token=SPECIAL[0], additional_special_tokens=SPECIAL[1:]
    )
    fast.save_pretrained(folder)
    WhisperFeatureExtractor(feature_size=80).save_pretrained(folder)
    if spelling is not None:
        described = folder / "tokenizer_config.json"
        values = json.loads(described.read_text()) | {"tokenizer_class": "WhisperTokenizer"}
        described.write_text(json.dumps(values))
        (folder / "normalizer.json").write_text(json.dumps(spelling))
    return folder


def save_xvector(folder, model_class=WavLMForXVector):
    """Save a WavLM of random weights with an x-vector head, or of another class."""
    torch.manual_seed(0)
    config = WavLMConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
        conv_dim=(8, 8), conv_kernel=(10, 8), conv_stride=(80, 4), num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=2, tdnn_dim=(16, 16), tdnn_kernel=(3, 1),
        tdnn_dilation=(1, 1), xvector_output_dim=8,
    )  # fmt: skip
    model_class(config).save_pretrained(folder)
    Wav2Vec2FeatureExtractor(do_normalize=False).save_pretrained(folder)
    return folder
