"""Phones: what espeak-ng says in SAMPA, who gets them, and what is missing without it."""

import sys

import pytest

from almtok.lm.text.encoder import CachedTextEncoder, TextEncoder
from almtok.lm.text.phones import load_espeak, phones
from almtok.lm.text.tokenizer import train_tokenizer


def test_english_is_american_in_sampa_with_pauses():
    pytest.importorskip("espeakng_loader")
    assert phones("the cat") == 'D@ k"{t'
    assert phones("the happy dog walked, near the river.") == (
        'D@ h"{pi d"A:g w"O:kt | n%Ir D@ r"Iv@`'
    )
    assert phones("measure this thing", "en-gb") == 'm"EZ@ DIs T"IN'
    assert phones("Guten Tag", "de") == 'g"u:t@n t"A:k'
    everything = phones("the quick brown fox jumps over lazy dogs; church, vision, bathing, yeah?")
    assert everything.isascii() and "| " in everything


def test_the_letter_a_has_its_name_and_the_article_its_own():
    pytest.importorskip("espeakng_loader")
    assert phones("at seven A M") == '{t s"Ev@n "eI "Em'
    for named in ("plan A.", "type A blood", "an A in math", "A B C", "plan A"):
        assert '"eI' in phones(named).split(), named
    for article in ("A dog came.", "THIS IS A TEST", "Once Upon A Time", "It ended. A dog came."):
        assert '"eI' not in phones(article).split(), article


def test_errors_name_the_language_and_the_text():
    pytest.importorskip("espeakng_loader")
    with pytest.raises(ValueError, match="espeak-ng has no voice 'xx'"):
        phones("hello", "xx")
    with pytest.raises(ValueError, match="nothing of '' can be pronounced"):
        phones("")


def test_a_missing_espeak_is_said_with_its_command(monkeypatch):
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    load_espeak.cache_clear()
    try:
        with pytest.raises(ImportError, match="pip install espeakng-loader"):
            phones("hello")
    finally:
        load_espeak.cache_clear()


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(
        ["the cat sat on the mat", "rain, 5 dogs ran to five cats"], vocab_size=300
    )


@pytest.mark.parametrize("kind", [TextEncoder, CachedTextEncoder])
def test_only_what_is_to_be_said_is_pronounced(tokenizer, kind):
    pytest.importorskip("espeakng_loader")
    texts = kind(tokenizer, "phones")
    read = texts.decode(texts.encode("The cat, 5 dogs", transcript=True, phonemize=True))
    assert read == phones("The cat, five dogs")
    for _ in range(2):  # one that remembers keeps the two apart
        assert texts.decode(texts.encode("The cat, 5 dogs", transcript=True)) == "the cat five dogs"
    assert (
        texts.decode(texts.encode("Rain, 5 dogs", transcript=False, phonemize=False))
        == "rain 5 dogs"
    )
    assert texts.encode(
        "half \ud83d a pair", transcript=True, phonemize=True
    )  # no bytes can be written of it
    plain = kind(tokenizer, "plain")
    assert plain.encode("the cat", transcript=True, phonemize=True) == plain.encode(
        "the cat", transcript=True
    )


def test_speech_is_prompted_by_phones_and_transcribed_in_words(tokenizer):
    pytest.importorskip("espeakng_loader")
    from almtok.lm.layouts import task_layout

    names = [slot.name for slot in task_layout("tts").conditions if slot.phonemize]
    assert names == ["voice_text", "text"]
    assert not task_layout("asr").target.phonemize
    assert not any(slot.phonemize for slot in task_layout("text_to_audio").conditions)
