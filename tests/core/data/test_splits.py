"""The division of a corpus: by speakers and texts, from its content and not its order."""

import random
from collections import Counter

import pytest

from almtok.core.data.entries import AudioEntry
from almtok.core.data.splits import SPLITS, split_corpus


def clip(number, text, speaker="", domain="speech", split=""):
    return AudioEntry(
        f"c{number}", f"/x/{number}.wav", domain=domain, text=text, speaker=speaker, split=split
    )


def one_voice(count=60):
    return [clip(n, f"sentence {n // 2}") for n in range(count)]  # each text twice


def many_voices(speakers=20, clips=10):
    return [
        clip(100 * s + n, f"{s} says {n}", f"s{s}") for s in range(speakers) for n in range(clips)
    ]


def parallel(speakers=20, texts=60):
    """All speakers read the same texts, as in VCTK."""
    return [clip(100 * s + n, f"text {n}", f"s{s}") for s in range(speakers) for n in range(texts)]


def values(split, name):
    return {part: {getattr(e, name) for e in entries} for part, entries in split.parts.items()}


def disjoint(found):
    return all(not found[a] & found[b] for a in SPLITS for b in SPLITS if a < b)


@pytest.mark.parametrize("corpus", [one_voice(), many_voices(), parallel()])
def test_no_text_is_in_two_splits_and_each_has_clips(corpus):
    split = split_corpus(corpus)
    assert disjoint(values(split, "text"))
    kept = sum(map(len, split.parts.values()))
    assert kept + split.left_out == len(corpus) and len(split.parts["train"]) > len(corpus) / 2
    for part in ("valid", "test"):
        assert 2 <= len(split.parts[part]) <= 0.15 * len(corpus)
        assert {entry.split for entry in split.parts[part]} == {part}


def test_the_order_of_the_clips_does_not_matter():
    for corpus in (one_voice(), many_voices(), parallel()):
        shuffled = random.Random(0).sample(corpus, len(corpus))
        assert values(split_corpus(corpus), "id") == values(split_corpus(shuffled), "id")


def test_speakers_are_held_out_where_there_are_enough():
    split = split_corpus(many_voices())
    assert disjoint(values(split, "speaker")) and not split.left_out
    assert split.how == {"speech": "by speaker and text"}
    few = split_corpus(many_voices(3, 40))
    assert few.how == {"speech": "by text; the clips of 3 speakers do not allow to hold some out"}
    assert {len(speakers) for speakers in values(few, "speaker").values()} <= {2, 3}
    assert split_corpus(one_voice()).how == {"speech": "by text"}


def test_texts_that_all_speakers_read():
    split = split_corpus(parallel())  # a held-out speaker would keep 3 of 60 clips
    assert split.how == {
        "speech": "by text; the clips of 20 speakers do not allow to hold some out"
    }
    some = many_voices() + [clip(9000 + n, "the same words", f"s{n}") for n in range(20)]
    split = split_corpus(some)
    assert split.how == {"speech": "by speaker and text"}
    assert disjoint(values(split, "speaker")) and disjoint(values(split, "text"))
    assert 0 < split.left_out < 20


def test_classes_of_sounds_are_divided_by_speaker_and_file():
    clips = [clip(n, f"class {n % 3}", f"s{n % 30}", domain="sound") for n in range(90)]
    split = split_corpus(clips)
    assert split.how == {"sound": "by speaker and file"} and disjoint(values(split, "speaker"))


def test_case_and_punctuation_make_no_other_text():
    corpus = [clip(n, f"Number {n // 2}!" if n % 2 else f"number {n // 2}") for n in range(80)]
    split = split_corpus(corpus)
    said = {p: {t.lower().strip("!") for t in texts} for p, texts in values(split, "text").items()}
    assert disjoint(said)


def test_classes_of_sounds_are_in_all_splits_and_captions_of_a_file_in_one():
    sounds = [clip(n, ("dog", "cat", "rain")[n % 3], domain="sound") for n in range(90)]
    split = split_corpus(sounds)
    assert split.how == {"sound": "by file"}
    assert disjoint(values(split, "path")) and "dog" in values(split, "text")["train"]
    captions = [clip(n // 5, f"caption {n}", domain="sound") for n in range(200)]
    captions = [
        AudioEntry(f"c{n}", one.path, domain="sound", text=one.text)
        for n, one in enumerate(captions)
    ]
    split = split_corpus(captions)
    assert disjoint(values(split, "path")) and disjoint(values(split, "text"))


def test_splits_of_the_corpus_are_kept_and_missing_ones_are_made():
    own = [*one_voice(), *(clip(200 + n, f"test {n}", split="test") for n in range(5))]
    split = split_corpus(own)
    assert values(split, "id")["test"] == {f"c{200 + n}" for n in range(5)}
    assert split.parts["valid"] and disjoint(values(split, "text"))
    whole = [*own, *(clip(300 + n, f"valid {n}", split="valid") for n in range(5))]
    split = split_corpus(whole)
    assert Counter({p: len(e) for p, e in split.parts.items()}) == {
        "train": 60,
        "valid": 5,
        "test": 5,
    }
    assert split.how == {"speech": "as the corpus is divided"}


def test_every_domain_has_all_splits():
    mixed = one_voice() + [clip(500 + n, f"sound {n}", domain="sound") for n in range(40)]
    split = split_corpus(mixed)
    assert all(found == {"speech", "sound"} for found in values(split, "domain").values())


def test_a_corpus_that_is_too_small_is_refused_with_what_is_needed():
    with pytest.raises(
        ValueError, match="speech has 30 clips with 15 different texts, and at least 20"
    ):
        split_corpus(one_voice(30))
    silent = [clip(n, "", domain="music") for n in range(8)]
    with pytest.raises(
        ValueError, match="music has 8 clips with 8 recordings, .* --valid and --test"
    ):
        split_corpus(silent)


def test_a_corpus_of_test_clips_is_refused():
    with pytest.raises(ValueError, match="all 30 clips of speech are of split test"):
        split_corpus([clip(n, f"text {n}", split="test") for n in range(30)])
