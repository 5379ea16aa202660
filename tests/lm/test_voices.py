"""Voices by name: their control tokens, the default of a prompt, and models without any."""

import json

import pytest
import torch

from almtok.lm import processor as processors
from almtok.lm.data.collator import SequenceLength
from almtok.lm.export import PlainIds
from almtok.lm.model import AudioLM
from almtok.lm.prompt_builder import PromptOptions
from almtok.lm.sequences import (
    AudioSegment,
    Example,
    SpeakerSegment,
    TextSegment,
    build_sequence,
)
from almtok.lm.text.tokenizer import train_tokenizer
from almtok.lm.vocabulary import Vocabulary
from almtok.lm.voices import add_voices

from ..codec.toy import toy_codec
from .toy import EOS, toy_codes, toy_config, toy_lm

VOICES = ["joe", "ann", "léa"]


def example(speaker: str, count: int = 4) -> Example:
    segments = (SpeakerSegment(speaker), TextSegment((5, 6)), AudioSegment(toy_codes(count)))
    return Example("tts", segments, 6)


@pytest.fixture(scope="module")
def processor():
    codec = toy_codec()
    config = toy_config(
        codebook_size=codec.codebook_size, codec_fingerprint=codec.fingerprint, voices=VOICES
    )
    config.backbone.vocab_size, config.backbone.eos_token_id = 320, 2
    tokenizer = train_tokenizer(["the cat sat"] * 8, vocab_size=320)
    return processors.AudioLMProcessor(tokenizer, config, codec)


def test_a_voice_is_one_row_after_task_and_rate():
    config = toy_config(voices=VOICES)
    vocabulary = Vocabulary(config)
    named = build_sequence(example("ann"), config, eos_id=EOS)
    other = build_sequence(example("someone"), config, eos_id=EOS)
    assert int(named.input_ids[2, 0]) == vocabulary.voice("ann")
    assert torch.cat([named.input_ids[:2], named.input_ids[3:]]).equal(other.input_ids)
    for speaker in ("ann", "someone", ""):
        rows = build_sequence(example(speaker), config, eos_id=EOS)
        assert SequenceLength(config)(example(speaker)) == len(rows)
    dropped = build_sequence(example("ann"), config, eos_id=EOS, drop_condition=True)
    assert vocabulary.voice("ann") not in dropped.input_ids[:, 0]


def test_voices_leave_all_other_ids_as_they_were():
    plain, named = Vocabulary(toy_config()), Vocabulary(toy_config(voices=VOICES))
    assert named.num_controls == plain.num_controls + 3 and named.blank == plain.blank
    assert named.task("tts") == plain.task("tts") and named.rate(16) == plain.rate(16)
    ids = [named.voice(name) for name in VOICES]
    assert ids == [plain.text_empty, plain.text_empty + 1, plain.text_empty + 2]
    assert named.text_empty == ids[-1] + 1 and named.voice("eve") is None


def test_a_prompt_has_the_default_voice_unless_another_is_named(processor):
    vocabulary = Vocabulary(processor.config)
    calls = ({}, {"speaker": "joe"}, {"speaker": "léa"}, {"speaker": ""})
    prompts = [processor(task="tts", text="the cat", **call)["input_ids"][0] for call in calls]
    assert prompts[0].equal(prompts[1]) and int(prompts[0][2, 0]) == vocabulary.voice("joe")
    assert int(prompts[2][2, 0]) == vocabulary.voice("léa")
    assert prompts[3].equal(torch.cat([prompts[0][:2], prompts[0][3:]]))
    both = processor(text=["the cat", "the cat"], speaker=["ann", None])["input_ids"]
    assert [int(row[2, 0]) for row in both] == [vocabulary.voice("ann"), vocabulary.voice("joe")]
    chat = [{"role": "user", "content": "the cat"}]
    assert processor.apply_chat_template(chat)["input_ids"][0].equal(prompts[0])


def test_a_reference_takes_the_place_of_the_default_voice(processor):
    tokens = processor.audio_input.from_codes(toy_codes(9, size=8), 6)
    voices = torch.tensor([Vocabulary(processor.config).voice(name) for name in VOICES])
    rows = processor(task="tts", text="the cat", voice=tokens)["input_ids"][0]
    assert not torch.isin(rows[:, 0], voices).any()
    reference = [{"type": "text", "text": "sat"}, {"type": "audio", "audio": tokens}]
    chat = [{"role": "user", "content": [*reference, {"type": "text", "text": "the cat"}]}]
    rows = processor.apply_chat_template(chat)["input_ids"][0]
    assert not torch.isin(rows[:, 0], voices).any()


@pytest.mark.parametrize("name", ["eve", 3])
def test_an_unknown_voice_is_named_with_some_that_there_are(processor, name):
    with pytest.raises(ValueError, match=rf"must be one of joe, ann, léa, got {name!r}"):
        processor(task="tts", text="the cat", speaker=name)


def test_a_model_that_does_not_clone_refuses_references_in_one_sentence(processor):
    tokens = processor.audio_input.from_codes(toy_codes(9, size=8), 6)
    processor.config.supports_cloning = False
    chat = [{"role": "user", "content": [
        {"type": "audio", "audio": tokens}, {"type": "text", "text": "the cat"},
    ]}]  # fmt: skip
    try:
        for call in (
            lambda: processor(task="tts", text="the cat", voice=tokens),
            lambda: processor.apply_chat_template(chat),
        ):
            with pytest.raises(ValueError, match="does not imitate .*its voices are joe") as caught:
                call()
            assert "\n" not in str(caught.value)
        options = PromptOptions()
        rows = processor.prompt_builder.prompt("continuation", {"audio": tokens}, options)
        assert len(rows) > 9
    finally:
        processor.config.supports_cloning = True


@pytest.mark.parametrize("pattern", ["depth", "flat"])
def test_voices_that_are_added_change_no_other_prompt(pattern):
    lm = toy_lm(pattern=pattern)
    before = build_sequence(example("joe"), lm.config, eos_id=EOS)
    with torch.no_grad():
        loss = lm(input_ids=before.input_ids[None], labels=before.labels[None]).loss
        text = lm.ctc_logits(torch.ones(1, 32))
    add_voices(lm, ["joe"])
    table = lm.embedding.controls.weight.detach().clone()
    add_voices(lm, ["ann", "joe"])
    assert lm.config.voices == ["joe", "ann"]  # the default stays
    assert lm.embedding.controls.weight[:-1].equal(table)
    after = build_sequence(example("someone"), lm.config, eos_id=EOS)
    with torch.no_grad():
        again = lm(input_ids=after.input_ids[None], labels=after.labels[None]).loss
        assert lm.ctc_logits(torch.ones(1, 32)).equal(text)
    if pattern == "depth":  # in "flat" voices are part of the vocabulary that is scored
        assert float(again) == pytest.approx(float(loss), rel=1e-6)
    named = build_sequence(example("ann"), lm.config, eos_id=EOS)
    assert not lm.embed(named.input_ids)[2].equal(lm.embed(named.input_ids)[1])
    if pattern == "flat":
        ids = PlainIds(lm.config)
        assert ids.to_rows(ids.from_rows(named.input_ids)).equal(named.input_ids)
        assert ids.describe()["voices"] == {
            name: Vocabulary(lm.config).voice(name) for name in ("joe", "ann")
        }


def test_voices_are_kept_in_files_and_on_the_card(tmp_path):
    lm = toy_lm()
    add_voices(lm, VOICES)
    lm.config.supports_cloning = False
    lm.save_pretrained(tmp_path)
    again = AudioLM.from_pretrained(tmp_path)
    assert again.config.voices == VOICES and not again.config.supports_cloning
    assert again.embedding.controls.weight.equal(lm.embedding.controls.weight)
    card = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert "voices: joe (default), ann, léa; voices of recordings are not imitated" in card
    toy_lm().save_pretrained(tmp_path / "none")
    assert "voices" not in (tmp_path / "none" / "README.md").read_text(encoding="utf-8")


def test_configurations_from_before_voices_load(tmp_path):
    toy_lm().save_pretrained(tmp_path)
    file = tmp_path / "config.json"
    values = json.loads(file.read_text())
    for name in ("voices", "supports_cloning"):
        values.pop(name, None)
    file.write_text(json.dumps(values))
    config = AudioLM.from_pretrained(tmp_path).config
    assert config.voices == [] and config.supports_cloning


@pytest.mark.parametrize("voices", [["a", "a"], [""]])
def test_names_of_voices_differ_and_are_not_empty(voices):
    with pytest.raises(ValueError, match="voices must be different names"):
        toy_config(voices=voices)
