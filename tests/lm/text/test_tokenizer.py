"""The tokenizer from scratch: nothing is lost, nothing is unknown, sentencepiece agrees."""

import logging

import pytest
import sentencepiece
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from almtok.lm.text.tokenizer import (
    load_tokenizer,
    tokenizer_from_sentencepiece,
    train_sentencepiece,
    train_tokenizer,
)

TEXTS = [
    "the cat sat on the mat, hmmm ... and www dot mommy dot com",
    "The small horse waited behind the old house.",
    "please call one two three four; it is 12345 o'clock!",
    "aaa aaaa aaaaa abab ababab bababa aabb abba",
    "mississippi banana bananas ananas tomorrow and tomorrow",
] * 4
HARD = [
    "",
    " ",
    "  two  leading and trailing  ",
    "tab\tnewline\nreturn\r null\0 end",
    "emoji 😀👩‍👩‍👧 flags 🇫🇷",
    "中文字符,日本語、한국어",
    "combining e\u0301 a\u0308\u0323 and ﬁ ligature",
    "</s><pad><unk> <0x41> <s>",
    "العربية עברית हिन्दी",
    "\U0010ffff\ue000",
]


@pytest.fixture(scope="module")
def model() -> bytes:
    return train_sentencepiece(TEXTS, vocab_size=400)


@pytest.fixture(scope="module")
def tokenizer(model):
    return tokenizer_from_sentencepiece(model)


@pytest.fixture(scope="module")
def reference(model):
    return sentencepiece.SentencePieceProcessor(model_proto=model)


@pytest.mark.parametrize("text", HARD + TEXTS[:5])
def test_every_text_comes_back(tokenizer, text):
    ids = tokenizer(text).input_ids
    assert tokenizer.decode(ids) == text
    assert tokenizer.unk_token_id not in ids
    assert tokenizer.eos_token_id not in ids


@settings(max_examples=150)
@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="▁"), max_size=60))
def test_any_text_comes_back(tokenizer, text):
    ids = tokenizer(text).input_ids
    assert tokenizer.decode(ids) == text and tokenizer.unk_token_id not in ids


@pytest.mark.parametrize("text", HARD + TEXTS[:5])
def test_sentencepiece_agrees(tokenizer, reference, text):
    assert tokenizer(text).input_ids == reference.encode(text)


@settings(max_examples=300)
@given(st.text("abm ▁ns.t1<é😀", max_size=40))
def test_sentencepiece_agrees_on_repetitions(tokenizer, reference, text):
    assert tokenizer(text).input_ids == reference.encode(text)


def test_saved_and_loaded_by_auto_classes(tokenizer, tmp_path):
    tokenizer.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path, trust_remote_code=False)
    for text in HARD + TEXTS[:5]:
        assert loaded(text).input_ids == tokenizer(text).input_ids
        assert loaded.decode(loaded(text).input_ids) == text
    assert (loaded.pad_token_id, loaded.unk_token_id, loaded.eos_token_id) == (0, 1, 2)
    assert loaded.bos_token_id is None
    assert loaded.padding_side == "left"
    assert load_tokenizer(tmp_path).eos_token_id == 2


def test_special_tokens_are_left_out_when_asked(tokenizer):
    ids = tokenizer("the cat").input_ids + [2, 0, 0]
    assert tokenizer.decode(ids, skip_special_tokens=True) == "the cat"


def test_few_texts_give_a_smaller_vocabulary_and_a_message(caplog):
    with caplog.at_level(logging.WARNING):
        tokenizer = train_tokenizer(["one two", "three"], vocab_size=8000)
    assert 259 < len(tokenizer) < 320
    assert "8000 were asked for" in caplog.text
    assert tokenizer.decode(tokenizer("four").input_ids) == "four"


def test_training_is_the_same_every_time(model):
    assert train_sentencepiece(iter(TEXTS), vocab_size=400) == model


def test_many_alphabets_in_a_small_vocabulary():
    texts = [
        "".join(chr(c) for c in range(start, start + 50)) for start in range(0x4E00, 0x5600, 50)
    ]
    tokenizer = train_tokenizer(["the cat"] * 50 + texts, vocab_size=300)
    assert len(tokenizer) <= 300
    assert tokenizer.decode(tokenizer(texts[7]).input_ids) == texts[7]
    assert len(tokenizer("the").input_ids) <= 4


def test_long_lines_are_not_skipped():
    tokenizer = train_tokenizer(["a" * 5 + " zebra" * 3000], vocab_size=300)
    assert len(tokenizer("zebra").input_ids) == 1


@pytest.mark.parametrize("texts", [[], [""], [" \n ", "\t"]])
def test_no_text_is_an_error(texts):
    with pytest.raises(ValueError, match="no text to train"):
        train_tokenizer(texts)


def test_a_vocabulary_without_room_is_an_error():
    with pytest.raises(ValueError, match="vocab_size 100 is too small.*288"):
        train_tokenizer(["a"], vocab_size=100)


def test_a_tokenizer_without_an_end_is_refused(tokenizer, tmp_path):
    tokenizer.save_pretrained(tmp_path)
    config = (tmp_path / "tokenizer_config.json").read_text().replace('"eos_token"', '"other"')
    (tmp_path / "tokenizer_config.json").write_text(config)
    with pytest.raises(ValueError, match="no eos token"):
        load_tokenizer(tmp_path)
