# ruff: noqa: E501  (tables of cases read by their rows)
"""The processor: fields to rows, rows to people, one folder, clear errors."""

import logging
import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch
from transformers import AutoProcessor
from transformers.processing_utils import ProcessorMixin

from almtok.codec.tokens import AudioTokens
from almtok.core.audio import read_audio, write_audio
from almtok.lm.config import AudioLMConfig
from almtok.lm.generation.output import GeneratedRow
from almtok.lm.layouts import Slot, TaskLayout, layout_names, register_layout, task_layout
from almtok.lm.model import AudioLM
from almtok.lm.processor import AudioLMProcessor
from almtok.lm.sequences import IGNORED
from almtok.lm.text.tokenizer import train_tokenizer
from almtok.lm.vocabulary import Vocabulary

from ..codec.toy import noise, toy_codec

TEXTS = ["the cat sat on the mat", "hello there doctor lee", "one two three dollars", "3x 5"] * 3


@pytest.fixture(scope="module")
def codec():
    return toy_codec()


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(TEXTS, vocab_size=320)


@pytest.fixture(scope="module")
def config(codec, tokenizer):
    return AudioLMConfig(
        backbone=dict(
            model_type="llama", vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64,
            num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=1,
            max_position_embeddings=400, tie_word_embeddings=True,
        ),
        codebook_size=codec.codebook_size, num_codebooks=3, depth_layers=1, depth_width=16,
        depth_heads=2, codec_fingerprint=codec.fingerprint,
    )  # fmt: skip


@pytest.fixture(scope="module")
def processor(tokenizer, config, codec):
    return AudioLMProcessor(tokenizer, config, codec)


@pytest.fixture(scope="module")
def wav():
    return noise(1, 24_000)[0, 0]


@pytest.fixture(scope="module")
def tokens(codec, wav):
    return codec.tokenize(wav)


def controls(config):
    return Vocabulary(config)


def text_of(processor, ids):
    return processor.tokenizer.decode([i for i in ids.tolist() if i < processor.config.vocab_size])


# ---------------------------------------------------------------------- prompts


def test_a_tts_prompt_is_task_rate_text_and_the_opening(processor, config):
    batch = processor(task="tts", text="Dr. Lee paid $3")
    v = controls(config)
    rows = batch["input_ids"][0]
    assert rows[0, 0] == v.task("tts") and rows[1, 0] == v.rate(6)
    assert rows[2, 0] == v.open_text and rows[-1, 0] == v.open_audio
    assert text_of(processor, rows[3:-2, 0]) == "Doctor Lee paid three dollars"
    assert rows[-2, 0] == processor.tokenizer.eos_token_id
    assert (rows[:, 1:] == v.audio_empty).all()
    assert batch["attention_mask"].tolist() == [[1] * len(rows)]
    assert set(batch) == {"input_ids", "attention_mask"}


def test_a_voice_goes_before_the_text_with_its_transcript(processor, config, tokens):
    batch = processor(task="tts", text="hello", voice=tokens, voice_text="the cat sat")
    v, rows = controls(config), batch["input_ids"][0]
    openings = [i for i in rows[:, 0].tolist() if i in (v.open_text, v.open_audio)]
    assert openings == [v.open_text, v.open_audio, v.open_text, v.open_audio]
    heard = rows[(rows[:, 1] < config.codebook_size)][:, 1:]
    assert torch.equal(heard.T, tokens.codes)
    assert text_of(processor, rows[:, 0]).replace("</s>", "|") == "the cat sat| hello|"


def test_rows_without_a_voice_and_with_one_in_one_batch(processor, tokens):
    both = processor(task="tts", text=["hello", "the cat"], voice=[tokens, None])
    first = processor(task="tts", text="hello", voice=tokens)
    second = processor(task="tts", text="the cat")
    assert torch.equal(both["input_ids"][0], first["input_ids"][0])
    length = second["input_ids"].shape[1]
    assert torch.equal(both["input_ids"][1, -length:], second["input_ids"][0])
    missing = both["input_ids"].shape[1] - length
    assert both["attention_mask"][1].tolist() == [0] * missing + [1] * length


def test_several_tasks_in_one_batch(processor, config, tokens):
    batch = processor(task=["tts", "asr", "continuation"], text=["hello", None, None],
                      audio=[None, tokens, tokens])  # fmt: skip
    v = controls(config)
    assert batch["input_ids"][0, -1, 0] == v.open_audio
    assert batch["input_ids"][1, -1, 0] == v.open_text
    assert torch.equal(batch["input_ids"][2, -13:, 1:].T, tokens.codes)  # goes on after these


def test_audio_may_be_a_file_samples_a_mapping_or_tokens(processor, codec, wav, tmp_path):
    file = tmp_path / "a.wav"
    write_audio(file, wav / wav.abs().max(), 24_000)
    read = torch.from_numpy(read_audio(file))
    expected = processor(task="asr", audio=codec.tokenize(read))["input_ids"]
    stereo = np.stack([read.numpy()] * 2)
    for audio in (file, str(file), read, read.numpy(), stereo, read[None].double(),
                  {"array": read.numpy(), "sampling_rate": 24_000}, {"path": str(file)}):  # fmt: skip
        assert torch.equal(processor(task="asr", audio=audio)["input_ids"], expected)
    first = processor(task="asr", audio=codec.tokenize(read[:1]))["input_ids"]
    for audio in (read[:1], read[:1].numpy(), read[None, :1]):
        assert torch.equal(processor(task="asr", audio=audio)["input_ids"], first)
    half = processor(task="asr", audio=read[::2], sampling_rate=12_000)["input_ids"]
    assert half.shape == expected.shape


def test_the_rate_is_that_of_the_tokens_or_as_asked_for(processor, config, codec, wav):
    v = controls(config)
    slow = codec.tokenize(wav, frames_per_query=10)
    assert processor(task="asr", audio=slow)["input_ids"][0, 1, 0] == v.rate(10)
    batch = processor(task="asr", audio=wav, frames_per_query=3)
    assert batch["input_ids"][0, 1, 0] == v.rate(3)
    assert processor(task="tts", text="hi", frames_per_query=9)["input_ids"][0, 1, 0] == v.rate(9)
    with pytest.raises(
        ValueError, match="must be 6 in all audio of a sequence, got tokens with 10"
    ):
        processor(task="asr", audio=slow, frames_per_query=6)


# ---------------------------------------------------------------------- training


def test_targets_make_labels(processor, config, tokens):
    batch = processor(task=["tts", "asr"], text=["hello", None], audio=[None, tokens],
                      target=[tokens, "the cat"])  # fmt: skip
    labels = batch["labels"]
    assert labels.shape == batch["input_ids"].shape
    codes = labels[0][(labels[0, :, 1] >= 0) & (labels[0, :, 1] < config.codebook_size)][:, 1:]
    assert torch.equal(codes.T, tokens.codes)
    learned = labels[1][labels[1, :, 0] != IGNORED][:, 0]
    assert processor.tokenizer.decode(learned) == "the cat</s>"
    assert (labels[1, :, 1:] == IGNORED).all()
    assert batch["attention_mask"][1].sum() == (batch["attention_mask"][1] == 1).nonzero()[-1] + 1


def test_a_training_row_begins_with_its_prompt(processor, tokens):
    prompt = processor(task="tts", text="hello", voice=tokens)["input_ids"][0]
    row = processor(task="tts", text="hello", voice=tokens, target=tokens)["input_ids"][0]
    assert torch.equal(row[: len(prompt)], prompt)


def test_a_continuation_learns_the_whole_recording(processor, tokens):
    whole = processor(task="continuation", target=tokens)
    begun = AudioTokens(tokens.codes[:, :5], 6, 5 * 1920, 24_000, tokens.fingerprint)
    rest = AudioTokens(tokens.codes[:, 5:], 6, 8 * 1920, 24_000, tokens.fingerprint)
    parts = processor(task="continuation", audio=begun, target=rest)
    assert torch.equal(whole["labels"], parts["labels"])


def test_the_model_learns_and_reads_what_the_processor_makes(processor, config, tokens):
    lm = AudioLM(config)
    batch = processor(task=["tts", "asr"], text=["hello", None], audio=[None, tokens],
                      target=[tokens, "the cat"])  # fmt: skip
    assert torch.isfinite(lm(**batch).loss)
    prompts = processor(task=["tts", "asr"], text=["hello", None], audio=[None, tokens])
    assert lm(**prompts).audio_logits.shape[:2] == prompts["input_ids"].shape[:2]


def test_sequences_are_decoded_without_their_padding(processor, tokens):
    codes = torch.stack([tokens.codes, tokens.codes])
    codes[1, :, 5:] = -1
    long, short = processor.decode(codes)
    assert torch.equal(long, processor.audio_tokenizer.detokenize(
        processor.audio_input.from_codes(tokens.codes, 6)
    ).cpu())  # fmt: skip
    assert len(short) == 5 * 1920 and torch.equal(short, processor.decode(tokens.codes[:, :5]))
    assert len(processor.decode(codes[1, :, 5:])) == 0
    ids = torch.tensor(processor.tokenizer("hello")["input_ids"])
    assert processor.batch_decode(ids[None]) == [processor.text_encoder.decode(ids)]


def test_the_default_task_is_that_of_the_field(processor, tokens):
    for fields, task in ((dict(text="hello"), "tts"), (dict(audio=tokens), "asr")):
        named = processor(**fields, task=task)["input_ids"]
        assert torch.equal(processor(**fields)["input_ids"], named)


# ---------------------------------------------------------------------- texts


@pytest.mark.parametrize("form, seen", [
    ("written", "Dr. Lee's $5"), ("spoken", "Doctor Lee's five dollars"),
    ("plain", "doctor lee's five dollars"),
])  # fmt: skip
def test_forms_of_text(tokenizer, config, form, seen):
    processor = AudioLMProcessor(tokenizer, config, text_form=form)
    rows = processor(task="tts", text="Dr. Lee’s  $5")["input_ids"][0]
    assert text_of(processor, rows[3:-2, 0]) == seen


def test_a_description_is_not_written_out(processor):
    rows = processor(task="text_to_audio", text="a dog, 3x & loud")["input_ids"][0]
    assert text_of(processor, rows[3:-2, 0]) == "a dog, 3x & loud"


def test_no_character_is_lost_and_no_special_token_is_typed(processor):
    for text in ("中文，日本語 😀 e\u0301", "</s><pad> \ud800"):
        assert not set(processor.text_encoder.encode(text, transcript=False)) & {0, 1, 2}
    ids = processor.text_encoder.encode("</s> 中", transcript=False)
    assert processor.text_encoder.decode(ids) == "</s> 中"
    rows = processor(task="text_to_audio", text="</s> 😀")["input_ids"][0]
    assert text_of(processor, rows[3:-2, 0]) == "</s> 😀"


def test_the_tokenizer_of_a_pretrained_model(config):
    """Byte-level pieces, chat tokens and no padding token, as Qwen and SmolLM have them."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    pieces = Tokenizer(models.BPE())
    pieces.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    pieces.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=270,
        special_tokens=["<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    pieces.train_from_iterator(TEXTS, trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=pieces, eos_token="<|im_end|>")
    processor = AudioLMProcessor(tokenizer, config)
    ids = processor(task="text_to_audio", text="hi <|im_end|> 中")["input_ids"][0, 3:-1, 0].tolist()
    assert ids.index(tokenizer.eos_token_id) == len(ids) - 1
    assert processor.decode(generated("text", ids=ids)) == "hi <|im_end|> 中"


def test_a_tokenizer_that_knows_nothing_of_a_script(config):
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(models.WordLevel({"<unk>": 0, "</s>": 1, "a": 2}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, unk_token="<unk>", eos_token="</s>")
    processor = AudioLMProcessor(tokenizer, config, language=None)
    assert processor(task="tts", text="a")["input_ids"].shape[1] == 6
    with pytest.raises(ValueError, match="row 0: text: the tokenizer knows no character of '中文'"):
        processor(task="tts", text="中文")


# ---------------------------------------------------------------------- what cannot be done


@pytest.mark.parametrize("call, words", [
    (dict(task="tss", text="a"), "row 0: unknown task 'tss': did you mean 'tts'"),
    (dict(task="tts"), "row 0: task 'tts' needs text, got nothing"),
    (dict(task="asr", text="a"), "task 'asr' takes audio, got 'text'"),
    (dict(task="tts", text="a", voise="b"), "task 'tts' takes speaker, voice_text, voice, text, got 'voise'"),
    (dict(task="tts", text="a", voice_text="b"), "voice_text needs voice"),
    (dict(task="tts", text=["a", " "]), "row 1: text: the text is empty"),
    (dict(task="tts", text="😀 ***"), r"row 0: text: nothing of '😀 \*\*\*' can be said"),
    (dict(task="tts", text=5), "text: a text must be a str, got int"),
    (dict(task="tts", text=["a", "b"], voice_text=["c"]), "text 2, voice_text 1"),
    (dict(task="tts", text=[]), "lists must have one length, at least 1"),
    (dict(task="tts", text="word " * 2000), "shorter than the 400 positions of the model, got .* rows"),
    (dict(task="asr", audio="missing.wav"), "row 0: audio: missing: missing.wav"),
    (dict(task="asr", audio=torch.zeros(0)), "audio: the audio has no samples"),
    (dict(task="asr", audio=torch.zeros(3, 4, 5)), "one recording"),
    (dict(task="asr", audio=torch.zeros(9), sampling_rate=0), "sample rate of the audio.*got 0"),
    (dict(task="asr", audio=torch.zeros(9), sampling_rate=1), "sample rate of the audio.*got 1"),
    (dict(task="asr", audio=torch.zeros(9, dtype=torch.int16)), "samples must be floats.*int16"),
    (dict(task="asr", audio=torch.full((24_000,), torch.nan)), "NaN"),
    (dict(task="asr", audio=torch.rand(24_000) * 32767), r"samples .* must lie in \[-1, 1\], got \d+"),
    (dict(task="asr", audio=3), "audio must be AudioTokens, a path or samples"),
    (dict(task="tts", text="a", voice=torch.zeros(24_000)), "voice: .* got silence"),
    (dict(task="tts", text="a", voice=torch.rand(2_400)), "voice: .* at least 0.3 s long, got 0.10 s"),
    (dict(task="tts", text="a", frames_per_query=99), "frames_per_query must be"),
    (dict(task="tts", text="a", language="xx"), "row 0: language must be 'en', .* got 'xx'"),
    (dict(task="tts", text="a 中"), r"row 0: text: a text in language 'en' .* got '中' \(CJK\)"),
    (dict(task="tts", text="a", return_tensors="np"), "return_tensors must be 'pt'"),
    (dict(task="tts", text=["a", "b"], target=[torch.rand(9_000), None]), "row 1: target must be given for all rows"),
])  # fmt: skip
def test_one_clear_error(processor, call, words):
    with pytest.raises(ValueError, match=words):
        processor(**call)


def test_a_corrupt_file_is_named(processor, tmp_path):
    bad = tmp_path / "bad.wav"
    bad.write_bytes(b"RIFF but no more than that")
    with pytest.raises(ValueError, match="voice: corrupt: .*bad.wav"):
        processor(task="tts", text="a", voice=bad)


def test_ten_thousand_characters_fit_a_model_with_positions_for_them(tokenizer, config):
    values = {
        **config.to_dict(),
        "backbone": {**config.backbone.to_dict(), "max_position_embeddings": 20_000},
    }
    values.pop("transformers_version", None)
    processor = AudioLMProcessor(tokenizer, AudioLMConfig(**values))
    rows = processor(task="tts", text="the cat sat on " * 667)["input_ids"][0]
    assert text_of(processor, rows[3:-2, 0]) == ("the cat sat on " * 667).strip()


def test_tokens_of_another_codec_are_refused_with_both_names(processor, tokens):
    other = AudioTokens(tokens.codes, 6, tokens.num_samples, 24_000, "f" * 8)
    with pytest.raises(ValueError, match=f"voice: .*{tokens.fingerprint}.*ffffffff"):
        processor(task="tts", text="a", voice=other)


def test_another_codec_is_refused_with_both_names(tokenizer, config, codec):
    other = toy_codec(seed=5)
    assert other.fingerprint != codec.fingerprint
    with pytest.raises(ValueError, match=f"{codec.fingerprint}, got codec {other.fingerprint}"):
        AudioLMProcessor(tokenizer, config, other)
    with pytest.raises(
        ValueError, match="3 codebooks of 64 codes, as the language model, got 3 of 32"
    ):
        AudioLMProcessor(tokenizer, config, toy_codec(codebook_size=32))


def test_without_a_codec_tokens_do_and_waveforms_do_not(tokenizer, config, tokens, wav):
    processor = AudioLMProcessor(tokenizer, config)
    assert processor(task="asr", audio=tokens)["input_ids"].shape[1] == 2 + 1 + 14 + 1
    with pytest.raises(ValueError, match="this processor has no codec"):
        processor(task="asr", audio=wav)


def test_another_end_than_the_models_is_said(tokenizer, config, caplog):
    values = {**config.to_dict(), "backbone": {**config.backbone.to_dict(), "eos_token_id": [7, 2]}}
    values.pop("transformers_version", None)
    with caplog.at_level(logging.WARNING):
        AudioLMProcessor(tokenizer, config)
        assert not caplog.records
        AudioLMProcessor(tokenizer, AudioLMConfig(**values))
    assert "the tokenizer is 2, that of the backbone 7" in caplog.text


def test_a_tokenizer_larger_than_the_model_is_refused(tokenizer, config, codec):
    big = train_tokenizer([chr(c) + "b" for c in range(0x100, 0x300)], vocab_size=900)
    with pytest.raises(ValueError, match=f"at most {len(tokenizer)} ids, .*, got {len(big)}"):
        AudioLMProcessor(big, config, codec)


# ---------------------------------------------------------------------- conversations


def test_a_conversation_is_the_same_as_its_fields(processor, tokens):
    talk = [
        {"role": "0", "content": [{"type": "text", "text": "the cat"}, {"type": "audio", "audio": tokens}]},
        {"role": "0", "content": [{"type": "text", "text": "$3"}]},
    ]  # fmt: skip
    fields = processor(task="tts", text="$3", voice=tokens, voice_text="the cat")
    batch = processor.apply_chat_template(talk)
    assert torch.equal(batch["input_ids"], fields["input_ids"])
    assert processor.apply_chat_template(talk, tokenize=False) == (
        "<|tts|><|text|>the cat<|audio|>...<|text|>$3<|audio|>"
    )
    both = processor.apply_chat_template([talk, [{"role": "user", "content": "hello"}]])
    assert both["attention_mask"].sum(1).tolist()[0] == fields["input_ids"].shape[1]
    heard = processor.apply_chat_template(
        [{"role": "user", "content": [{"type": "audio", "audio": tokens}]}]
    )
    assert torch.equal(heard["input_ids"], processor(task="asr", audio=tokens)["input_ids"])


def test_a_conversation_is_phonemized_like_its_fields(tokenizer, config):
    pytest.importorskip("espeakng_loader")
    processor = AudioLMProcessor(tokenizer, config, text_form="phones")
    batch = processor.apply_chat_template([{"role": "user", "content": "the cat"}])
    assert torch.equal(batch["input_ids"], processor(task="tts", text="the cat")["input_ids"])
    with pytest.raises(ValueError, match="language must be 'en', .* got 'de'"):
        processor.apply_chat_template([{"role": "user", "content": "Hallo"}], language="de")


def test_a_conversation_to_learn(processor, tokens):
    talk = [
        {"role": "user", "content": [{"type": "text", "text": "hello"}]},
        {"role": "assistant", "content": [{"type": "audio", "audio": tokens}]},
    ]
    batch = processor.apply_chat_template(talk, output_labels=True)
    fields = processor(task="tts", text="hello", target=tokens)
    assert torch.equal(batch["labels"], fields["labels"])
    assert torch.equal(batch["input_ids"], fields["input_ids"])


@pytest.mark.parametrize("talk, options, words", [
    ([], {}, "at least one part of text or audio, got none"),
    ([{"content": "a"}], {}, "message 0 must have a role and a content"),
    ([{"role": "0", "content": [{"type": "image"}]}], {}, "message 0: a part must be.*got.*image"),
    ([{"role": "0", "content": "a"}], {"task": "tss"}, "did you mean 'tts'"),
    ([{"role": "0", "content": "a"}], {"output_labels": True}, "two parts or more and end with audio, got text"),
    ([{"role": "0", "content": "a"}], {"add_generation_prompt": False}, "add_generation_prompt True"),
    ([{"role": "0", "content": " "}], {}, "part 0: the text is empty"),
])  # fmt: skip
def test_conversations_that_are_not_understood(processor, talk, options, words):
    with pytest.raises(ValueError, match=words):
        processor.apply_chat_template(talk, **options)


# ---------------------------------------------------------------------- back


def generated(kind, codes=None, ids=None):
    return GeneratedRow(
        kind=kind, codes=codes, ids=ids, prefix=0, frames_per_query=6, finish="end", held_back=0,
        log_probability=0.0, num_choices=1, steps=1, seed=0,
    )  # fmt: skip


def test_outputs_for_people(processor, codec, tokens, tmp_path):
    ids = torch.tensor([*processor.tokenizer("the cat").input_ids, 2, 5])
    wav, text, nothing = processor.batch_decode(
        [generated("audio", tokens.codes), generated("text", ids=ids),
         generated("audio", tokens.codes[:, :0])]
    )  # fmt: skip
    assert text == "the cat"
    assert nothing.shape == (0,)
    assert torch.equal(wav, codec.decode(tokens.codes[None]).audio_values[0, 0])
    back = processor.audio_tokens(generated("audio", tokens.codes))
    assert back.fingerprint == codec.fingerprint and back.num_samples == 13 * 1920
    processor.save_audio([wav, wav], [tmp_path / "a.wav", tmp_path / "b.flac"])
    processor.save_audio(wav, tmp_path / "c.ogg")
    assert read_audio(tmp_path / "b.flac").shape == wav.shape
    with pytest.raises(ValueError, match="as many as the 2 waveforms, got 1"):
        processor.save_audio([wav, wav], tmp_path / "d.wav")
    with pytest.raises(ValueError, match="waveform 1 has no samples"):
        processor.save_audio([wav, nothing], [tmp_path / "d.wav", tmp_path / "e.wav"])
    with pytest.raises(ValueError, match="must be audio, got text"):
        processor.audio_tokens(generated("text", ids=ids))


def test_the_model_answers_in_its_rows(processor, config, codec, tokens):
    torch.manual_seed(0)
    lm = AudioLM(config).eval()
    slow = codec.tokenize(noise(1, 9_600)[0, 0], frames_per_query=10)
    batch = processor(task=["tts", "asr", "continuation"], text=["hello", None, None],
                      audio=[None, tokens, slow])  # fmt: skip
    out = lm.generate(**batch, max_frames=4, max_text_tokens=4)
    speech, text, longer = processor.batch_decode(out)
    assert isinstance(text, str) and speech.ndim == longer.ndim == 1
    assert len(speech) == out[0].codes.shape[1] * 1920
    assert len(longer) == out[2].codes.shape[1] * 3200 >= slow.codes.shape[1] * 3200


# ---------------------------------------------------------------------- folders


def test_a_folder_is_written_only(processor, tmp_path):
    with pytest.raises(ValueError, match="push_to_hub"):
        processor.save_pretrained(tmp_path, push_to_hub=True)


def same(first, second, tokens):
    call = dict(task="tts", text="Dr. Lee", voice=tokens, voice_text="hi")
    return torch.equal(first(**call)["input_ids"], second(**call)["input_ids"])


def test_one_folder_holds_all(processor, codec, tokens, wav, tmp_path):
    processor.save_pretrained(tmp_path / "p")
    moved = (tmp_path / "p").rename(tmp_path / "moved")
    loaded = AudioLMProcessor.from_pretrained(moved)
    assert loaded.audio_input.loaded_codec is None  # until it is needed
    assert same(processor, loaded, tokens) and loaded.audio_input.loaded_codec is None
    assert torch.equal(
        loaded(task="asr", audio=wav)["input_ids"], processor(task="asr", audio=wav)["input_ids"]
    )
    assert loaded.audio_tokenizer.fingerprint == codec.fingerprint
    assert str(tmp_path) not in (moved / "processor_config.json").read_text()
    again = tmp_path / "again"
    AudioLMProcessor.from_pretrained(moved).save_pretrained(again)
    assert AudioLMProcessor.from_pretrained(again).audio_tokenizer.fingerprint == codec.fingerprint
    assert not list(again.glob("*tmp-*"))


def test_auto_processor_loads_it_beside_the_model(processor, config, tokens, tmp_path):
    AudioLM(config).save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path, include_codec=False)
    loaded = AutoProcessor.from_pretrained(tmp_path)
    assert isinstance(loaded, AudioLMProcessor) and isinstance(loaded, ProcessorMixin)
    assert same(processor, loaded, tokens)
    assert not (tmp_path / "codec").exists()


def test_the_codec_lies_beside_the_model_or_where_it_was(processor, codec, tokens, tmp_path):
    codec.save_pretrained(tmp_path / "run" / "codec")
    processor.save_pretrained(tmp_path / "run" / "lm", include_codec=False)
    for folder in ("run", "run/lm"):
        loaded = AudioLMProcessor.from_pretrained(tmp_path / folder)
        assert loaded.audio_tokenizer.fingerprint == codec.fingerprint
    loaded.save_pretrained(tmp_path / "elsewhere" / "lm", include_codec=False)
    loaded = AudioLMProcessor.from_pretrained(tmp_path / "elsewhere" / "lm")
    assert loaded.audio_tokenizer.fingerprint == codec.fingerprint
    assert loaded.sample_rate == 24_000


def test_folders_that_hold_none(tmp_path):
    with pytest.raises(ValueError, match="processor_config.json is missing"):
        AudioLMProcessor.from_pretrained(tmp_path)
    (tmp_path / "processor_config.json").write_text("{")
    with pytest.raises(ValueError, match="processor_config.json is not valid JSON"):
        AudioLMProcessor.from_pretrained(tmp_path)
    (tmp_path / "processor_config.json").write_text('{"processor_class": "CsmProcessor"}')
    with pytest.raises(ValueError, match="got 'CsmProcessor'"):
        AudioLMProcessor.from_pretrained(tmp_path)


def test_it_can_be_sent_to_other_processes(processor, tokens):
    assert same(processor, pickle.loads(pickle.dumps(processor)), tokens)
    assert "AudioLMProcessor" in repr(processor)


# ---------------------------------------------------------------------- layouts


def test_the_layouts_that_ship_are_the_tasks_of_the_config():
    assert set(AudioLMConfig.preset("tiny").tasks) <= set(layout_names())


def test_any_import_of_the_package_registers_the_tasks(quiet_environment, tmp_path):
    code = "from almtok.lm import layouts\nprint(layouts.task_layout('asr').names)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True,
                            env=quiet_environment, cwd=tmp_path)  # fmt: skip
    assert result.stdout == "('audio',)\n", result.stderr


def test_a_new_task_is_one_layout(tokenizer, config, codec, tokens):
    made = TaskLayout(
        name="voice_conversion",
        conditions=(Slot(name="voice", kind="audio", voice=True), Slot(name="audio", kind="audio")),
        target=Slot(name="target", kind="audio"),
    )
    assert register_layout(made) is register_layout(made) is task_layout("voice_conversion")
    values = {**config.to_dict(), "tasks": [*config.tasks, "voice_conversion"]}
    values.pop("transformers_version", None)
    processor = AudioLMProcessor(tokenizer, AudioLMConfig(**values), codec)
    rows = processor(task="voice_conversion", voice=tokens, audio=tokens)["input_ids"][0]
    assert len(rows) == 2 + 2 * 15 + 1
    assert "tts" in layout_names()
    with pytest.raises(ValueError, match="registered with another layout"):
        register_layout(TaskLayout(name="tts", conditions=(Slot(name="a", kind="text"),),
                                   target=Slot(name="b", kind="audio")))  # fmt: skip


@pytest.mark.parametrize("wrong, words", [
    (dict(name="a b"), "task name .* got 'a b'"),
    (dict(conditions=(Slot(name="task", kind="text"),)), "slot name .* got 'task'"),
    (dict(conditions=(Slot(name="x", kind="text"),) * 2), "two slots of one name"),
    (dict(conditions=()), "at least one required"),
    (dict(conditions=(Slot(name="x", kind="text", needs="y"),)), "no slot 'y'"),
    (dict(prefix=Slot(name="p", kind="text")), "text prefix of a audio target"),
])  # fmt: skip
def test_layouts_that_make_no_sense(wrong, words):
    values = dict(name="x", conditions=(Slot(name="text", kind="text"),),
                  target=Slot(name="t", kind="audio"))  # fmt: skip
    with pytest.raises(ValueError, match=words):
        TaskLayout(**{**values, **wrong})
