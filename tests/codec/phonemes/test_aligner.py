"""The aligner: words and phones are where the synthesiser said them."""

import numpy as np
import pytest

from almtok.codec.phonemes.aligner import Aligner, with_room
from almtok.recipes.mini.voices import VOICES, find_speaker

RATE = 24_000


@pytest.fixture(scope="module")
def spoken():
    """Two words with half a second of near silence between them and some around."""
    pytest.importorskip("pocketsphinx")
    _, speak = find_speaker()
    first, second = (speak(word, VOICES[4], RATE) for word in ("window", "yellow"))
    quiet = np.zeros(RATE // 4, np.float32)
    wav = np.concatenate([quiet, first, quiet, quiet, second, quiet])
    wav += 1e-4 * np.random.default_rng(0).standard_normal(len(wav), np.float32)
    return wav, (len(quiet) + len(first)) / RATE


def test_words_are_where_they_were_said(spoken):
    wav, gap = spoken
    words = Aligner().words(wav, RATE, "Window, yellow!")
    assert [word.text for word in words] == ["window", "yellow"]
    assert words[0].end < gap + 0.2 and words[1].start > gap + 0.3
    assert words[0].room[1] > 0.2


def test_phones_are_those_of_the_words_in_order(spoken):
    wav, gap = spoken
    phones = [
        phone for phone in Aligner().phones(wav, RATE, "window yellow") if phone.name != "SIL"
    ]
    assert [phone.name for phone in phones] == "W IH N D OW Y EH L OW".split()
    assert all(one.end <= two.start + 1e-6 for one, two in zip(phones, phones[1:], strict=False))
    assert phones[4].end < gap + 0.2 and phones[5].start > gap + 0.3


@pytest.mark.parametrize("text", ["", "xqzzt", "7 apples", "..."])
def test_a_text_that_cannot_be_told_has_no_alignment(spoken, text):
    assert Aligner().words(spoken[0], RATE, text) == []
    assert Aligner().phones(spoken[0], RATE, text) == []


def test_an_aligner_goes_on_after_a_text_that_does_not_fit(spoken):
    wav, _ = spoken
    aligner = Aligner()
    aligner.phones(
        wav[:2400], RATE, "a long text that was never said in a tenth of a second at all"
    )
    assert [word.text for word in aligner.words(wav, RATE, "window yellow")] == ["window", "yellow"]


def test_fillers_become_room():
    words = with_room(
        [("<s>", 0, 10), ("so", 10, 30), ("<sil>", 30, 45), ("mary", 45, 90), ("[NOISE]", 90, 94)]
    )
    assert [(word.text, word.start, word.end) for word in words] == [
        ("so", 0.1, 0.3),
        ("mary", 0.45, 0.9),
    ]
    assert words[0].room == (0.1, 0.15)
    assert words[1].room == (0.15, 0.04)
