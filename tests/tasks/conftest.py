"""A toy model that has learned a few lines by heart: it speaks them, and reads them back."""

from dataclasses import dataclass

import pytest
import torch

from almtok.codec.audio import read_audio, write_audio
from almtok.lm.composer import Reading
from almtok.lm.config import AudioLMConfig
from almtok.lm.model import AudioLM
from almtok.lm.processor import AudioLMProcessor
from almtok.lm.sequences import build_sequence, collate
from almtok.lm.text.tokenizer import train_tokenizer
from almtok.tasks.bundle import Bundle
from almtok.tasks.controls import Controls

from ..codec.toy import noise, toy_codec

LINES = ("the cat sat on the mat", "hello there doctor lee")
SOUND = "a dog barks"
GREEDY = Controls(temperature=0.0, guidance_scale=1.0)


@dataclass(frozen=True)
class Learned:
    """The model, and what it knows."""

    bundle: Bundle
    tokens: dict  # text -> AudioTokens that it says it with
    folder: str


@pytest.fixture(scope="session")
def learned(tmp_path_factory):
    """Texts as noise; learned in both directions, alone, after one another, and through a file."""
    folder = tmp_path_factory.mktemp("learned")
    torch.set_num_threads(1)
    codec = toy_codec()
    processor = AudioLMProcessor(
        train_tokenizer([*LINES, SOUND] * 4, vocab_size=320), _config(codec), codec
    )
    torch.manual_seed(0)
    bundle = Bundle(AudioLM(processor.config), processor)
    waves = {
        text: 0.5 * noise(1, 15_360 + 1920 * i, seed=i)[0, 0]
        for i, text in enumerate((*LINES, SOUND))
    }
    tokens = {text: codec.tokenize(wav) for text, wav in waves.items()}
    examples = _examples(processor, tokens, folder)
    _learn(bundle, examples)
    bundle.save_pretrained(folder / "model")
    return Learned(bundle, tokens, str(folder / "model"))


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
    def example(task, target, **fields):
        return processor.composer.example(task, fields, target, Reading())

    made = []
    codec = processor.audio_tokenizer
    for text in LINES:
        write_audio(folder / "line.wav", codec.detokenize(tokens[text]), codec.sample_rate)
        again = codec.tokenize(torch.from_numpy(read_audio(folder / "line.wav")))
        made.append(example("tts", tokens[text], text=text))
        made += [example("asr", text, audio=audio) for audio in (tokens[text], again)]
    first, second = LINES
    voice = {"voice": tokens[first], "voice_text": first}
    made.append(example("tts", tokens[second], text=second, **voice))
    made.append(example("tts", tokens[first], text=first, **voice))
    made.append(example("text_to_audio", tokens[SOUND], text=SOUND))
    made.append(example("audio_caption", SOUND, audio=tokens[SOUND]))
    made.append(example("continuation", tokens[SOUND]))
    return made


def _learn(bundle, examples, steps=220):
    config = bundle.lm.config
    sequences = [build_sequence(one, config, eos_id=bundle.texts.eos_id) for one in examples]
    batch = collate(sequences, config, "right")
    optimizer = torch.optim.AdamW(bundle.lm.parameters(), lr=4e-3, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, steps)
    bundle.lm.train()
    for _ in range(steps):
        loss = bundle.lm(**batch).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    bundle.lm.eval()
    assert loss.item() < 0.05, f"the toy has not learned its lines: loss {loss.item():.3f}"
