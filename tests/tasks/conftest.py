"""A toy model that has learned a few lines by heart: it speaks them, and reads them back."""

from dataclasses import dataclass

import pytest
import torch

from almtok.core.audio import read_audio, write_audio
from almtok.lm.config import AudioLMConfig
from almtok.lm.model import AudioLM
from almtok.lm.processor import AudioLMProcessor
from almtok.lm.prompt_builder import PromptOptions
from almtok.lm.sequences import build_sequence, collate
from almtok.lm.text.tokenizer import train_tokenizer
from almtok.tasks.pipelines.base import AudioLMPipeline
from almtok.tasks.pipelines.options import GenerationOptions

from ..codec.toy import noise, toy_codec

LINES = ("the cat sat on the mat", "hello there doctor lee")
SOUND, RAIN = "a dog barks", "rain falls"
GREEDY = GenerationOptions(temperature=0.0, guidance_scale=1.0)


@dataclass(frozen=True)
class Learned:
    """The model, and what it knows."""

    pipeline: AudioLMPipeline
    tokens: dict  # text -> AudioTokens that it says it with
    folder: str


@pytest.fixture(scope="session")
def learned(tmp_path_factory):
    """Texts as noise; learned in both directions, alone, after one another, and through a file."""
    folder = tmp_path_factory.mktemp("learned")
    torch.set_num_threads(1)
    codec = toy_codec()
    processor = AudioLMProcessor(
        train_tokenizer([*LINES, SOUND, RAIN] * 4, vocab_size=320), _config(codec), codec
    )
    torch.manual_seed(0)
    pipeline = AudioLMPipeline(AudioLM(processor.config), processor)
    waves = {
        text: 0.5 * noise(1, 15_360 + 1920 * i, seed=i)[0, 0]
        for i, text in enumerate((*LINES, SOUND, RAIN))
    }
    tokens = {text: codec.tokenize(wav) for text, wav in waves.items()}
    examples = _examples(processor, tokens, folder)
    _learn(pipeline, examples)
    pipeline.save_pretrained(folder / "model")
    return Learned(pipeline, tokens, str(folder / "model"))


def _config(codec):
    return AudioLMConfig(
        backbone=dict(
            model_type="llama", vocab_size=320, hidden_size=64, intermediate_size=128,
            num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
            max_position_embeddings=512, tie_word_embeddings=True, eos_token_id=2,
        ),
        codebook_size=codec.codebook_size, num_codebooks=3, depth_layers=1, depth_width=32,
        depth_heads=2, codec_fingerprint=codec.fingerprint,
    )  # fmt: skip


def _examples(processor, tokens, folder):
    """Examples, and those of texts again without their audio: what is likely by itself."""

    def example(task, target, **fields):
        return processor.prompt_builder.example(task, fields, target, PromptOptions())

    made = []
    codec = processor.audio_tokenizer
    for text in tokens:
        write_audio(folder / "line.wav", codec.detokenize(tokens[text]), codec.sample_rate)
        again = codec.tokenize(torch.from_numpy(read_audio(folder / "line.wav")))
        make, tell = ("tts", "asr") if text in LINES else ("text_to_audio", "audio_caption")
        made.append((example(make, tokens[text], text=text), False))
        made += [(example(tell, text, audio=audio), False) for audio in (tokens[text], again)]
        made.append((example(tell, text, audio=tokens[text]), True))
    first, second = LINES
    voice = {"voice": tokens[first], "voice_text": first}
    made.append((example("tts", tokens[second], text=second, **voice), False))
    both = processor.audio_input.from_codes(
        torch.cat([tokens[first].codes, tokens[second].codes], dim=1), 6
    )
    made.append((example("tts", both, text=f"{first} {second}"), False))
    made.append((example("continuation", tokens[SOUND]), False))
    return made


def _learn(pipeline, examples, steps=160):
    config = pipeline.lm.config
    sequences = [
        build_sequence(one, config, eos_id=pipeline.text_encoder.eos_id, drop_condition=drop)
        for one, drop in examples
    ]
    batch = collate(sequences, config, "right")
    optimizer = torch.optim.AdamW(pipeline.lm.parameters(), lr=5e-3, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 5e-3, steps)
    pipeline.lm.train()
    for _ in range(steps):
        output = pipeline.lm(**batch)
        optimizer.zero_grad()
        output.loss.backward()
        optimizer.step()
        schedule.step()
    pipeline.lm.eval()
    # Texts without their audio are a guess between two: the rest is known by heart.
    losses = {name: round(loss.item(), 3) for name, loss in output.losses.items()}
    assert losses["audio_1"] < 0.02 and losses["text"] < 0.3, f"the toy has not learned: {losses}"
