"""The language model in checkpoints/: it is the one of its card, and says and hears what it did."""

import dataclasses
import json
import re
import shutil
from pathlib import Path

import pytest
import torch

from almtok.__main__ import build_parser
from almtok.codec.checkpoints import DEFAULT, shipped
from almtok.codec.tokens import AudioTokens
from almtok.lm.layouts import task_layout
from almtok.lm.lora import base_fingerprint
from almtok.lm.prompt_builder import PromptOptions
from almtok.lm.score import score
from almtok.lm.sequences import build_sequence
from almtok.lm.train.cli import resolve_finetune
from almtok.tasks import AudioLMPipeline, SpeechRecognizer, TextToSpeech

FIXTURE = Path(__file__).parent / "fixtures" / "hello.safetensors"


@pytest.fixture(scope="module")
def card():
    return json.loads((shipped() / "card.json").read_text())["lm"]


@pytest.fixture(scope="module")
def pipeline() -> AudioLMPipeline:
    return AudioLMPipeline.from_pretrained(shipped())


@pytest.fixture(scope="module")
def said() -> AudioTokens:
    """What it said on the machine of its training."""
    return AudioTokens.load(FIXTURE)


def test_it_is_the_model_of_its_card(pipeline, card):
    assert base_fingerprint(pipeline.lm) == card["fingerprint"]
    assert pipeline.lm.config.codec_fingerprint == pipeline.codec.fingerprint


def test_a_language_model_without_a_codec_is_refused_with_the_folder(tmp_path):
    shutil.copytree(shipped() / "lm", tmp_path / "lm")
    expected = f"no codec beside the language model in .*lm: expected {tmp_path / 'codec'}"
    with pytest.raises(ValueError, match=expected):
        AudioLMPipeline.from_pretrained(tmp_path)


def test_another_vocabulary_is_refused(tmp_path):
    """The fingerprint in its files is that of its tokenizer, and of no other."""
    shutil.copytree(shipped() / "lm", tmp_path / "lm")
    path = tmp_path / "lm" / "tokenizer.json"
    values = json.loads(path.read_text())
    vocabulary = values["model"]["vocab"]
    vocabulary["▁the"], vocabulary["▁a"] = vocabulary["▁a"], vocabulary["▁the"]
    path.write_text(json.dumps(values))
    with pytest.raises(ValueError, match="vocabulary of the tokenizer must be"):
        AudioLMPipeline.from_pretrained(tmp_path / "lm")


@pytest.mark.parametrize("task", ["text_to_music", "text_to_audio"])
@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("中文", r"'中文' \(CJK\)"),
        ("soft ピアノ", "KATAKANA"),
    ],
)
def test_descriptions_in_letters_that_it_never_saw_are_refused(pipeline, task, text, words):
    slot = task_layout(task).slots[0].name
    with pytest.raises(ValueError, match=f"letters that the vocabulary.*{words}"):
        pipeline.processor.prompt_builder.prompt(task, {slot: text}, PromptOptions())
    for known in ("a café piano!", "rain 😀"):
        assert len(pipeline.processor.prompt_builder.prompt(task, {slot: known}, PromptOptions()))


@pytest.mark.parametrize(
    ("text", "language", "words"),
    [
        ("120 dogs", None, "one hundred twenty dogs"),
        ("waltz no. 2 at 90 bpm", None, "waltz number two at ninety beats per minute"),
        ("½ a song", "en-GB", "one half a song"),
        ("piano ௧", None, "piano one"),
    ],
)
def test_numbers_of_descriptions_are_written_out_for_a_vocabulary_without_digits(
    pipeline, text, language, words
):
    encoder = pipeline.text_encoder
    ids = encoder.encode(text, transcript=False, language=language)
    assert encoder.decode(ids) == words
    encoder.check_learned(ids)


def test_phones_that_are_written_with_digits_are_no_digits(pipeline):
    texts = ("The committee met on Thursday.", "Her little bird, a pretty one, got better.")
    assert any(set("34") & set(pipeline.text_encoder.apply_form(
        text, transcript=True, phonemize=True)) for text in texts)  # fmt: skip
    for text in texts:
        pipeline.processor.prompt_builder.prompt("tts", {"text": text}, PromptOptions())


def test_numbers_without_a_normalizer_are_refused(pipeline):
    encoder = dataclasses.replace(pipeline.text_encoder, language=None)
    with pytest.raises(ValueError, match="'120' .*write numbers as words"):
        encoder.check_learned(encoder.encode("120 dogs", transcript=False))


def test_no_file_names_a_folder_of_the_machine_that_made_it():
    files = [*shipped().rglob("*config.json"), shipped() / "card.json"]
    assert len(files) > 3
    for file in files:
        assert not re.search(
            r'_name_or_path": *"[^"]|"codec": *"|"/|/tmp|/home', file.read_text()
        ), file


def test_the_folder_fits_into_git(pipeline, card):
    size = sum(file.stat().st_size for file in shipped().rglob("*") if file.is_file())
    assert size <= 40e6
    millions = sum(p.numel() for p in pipeline.lm.parameters()) / 1e6
    assert millions == pytest.approx(card["parameters_millions"], abs=0.05)


def test_its_own_words_are_as_likely_as_they_were(pipeline, card, said):
    example = pipeline.processor.prompt_builder.example(
        "tts", {"text": card["text_of_the_test"]}, said, PromptOptions()
    )
    sequence = build_sequence(example, pipeline.lm.config, eos_id=pipeline.text_encoder.eos_id)
    found = score(pipeline.lm, [sequence])[0]
    nats = [-layer / said.codes.shape[-1] for layer in found.audio]
    assert nats == pytest.approx(card["nats_per_code_of_the_test"], abs=0.02)


def test_it_speaks_and_hears_itself(pipeline, card, said):
    speech = TextToSpeech(pipeline).speak(card["text_of_the_test"], seed=0)
    assert speech.finish == "end" and 0.5 < speech.duration < 6
    assert SpeechRecognizer(pipeline).transcribe(said).text == card["transcript_of_the_test"]
    assert torch.isfinite(pipeline.decode(said)).all()


def test_a_finetuning_begins_with_it():
    given = build_parser().parse_args(["lm", "finetune", "--data", "tokens/"])
    assert resolve_finetune(given).init_from == str(DEFAULT / "lm")
