"""The classifier of sounds knows clips by their class, and says what it cannot learn."""

import json

import numpy as np
import pytest
import soundfile

from almtok.core.audio import resample
from almtok.recipes.mini.sounds import SOUNDS, kind_of, make_sound
from almtok.tasks.evaluation.classifier import SoundClassifier, summary

RATE = 16_000


def clips(kinds, seeds):
    for kind in kinds:
        for seed in seeds:
            text, wav = make_sound(kind, np.random.default_rng(seed), RATE)
            yield text, wav.astype(np.float32), kind


def test_held_out_clips_are_named():
    kinds = ("dog", "rain", "bell", "engine", "clock")
    judge = SoundClassifier.fit((wav, RATE, kind) for _, wav, kind in clips(kinds, range(8)))
    assert judge.classes == tuple(sorted(kinds))
    right = [judge.name(wav, RATE) == kind for _, wav, kind in clips(kinds, range(100, 104))]
    assert np.mean(right) > 0.8
    assert judge.name(0.01 * make_sound("dog", np.random.default_rng(7), RATE)[1], RATE) == "dog"


def test_short_and_silent_clips_have_features():
    for wav in (np.zeros(10, np.float32), np.zeros(RATE, np.float32), np.ones(1, np.float32)):
        assert np.isfinite(summary(wav, RATE)).all()


def test_one_clip_of_each_class_is_enough_to_learn_from():
    kinds = ("dog", "rain", "bell")
    judge = SoundClassifier.fit((wav, RATE, kind) for _, wav, kind in clips(kinds, [0]))
    assert [judge.name(wav, RATE) for _, wav, _ in clips(kinds, [0])] == list(kinds)


def test_one_class_is_refused():
    with pytest.raises(ValueError, match=r"two classes or more, got \['dog'\]"):
        SoundClassifier.fit((wav, RATE, kind) for _, wav, kind in clips(["dog"], range(2)))


def test_every_caption_tells_its_kind_and_no_other():
    for text, _, kind in clips(SOUNDS, range(12)):
        assert kind_of(text) == kind
    assert kind_of("a slow steady piano tune in C major") == ""


def test_who_heard_them_through_a_codec_knows_them_so(tmp_path):
    rows = []
    for number, (_, wav, kind) in enumerate(clips(("dog", "rain", "bell"), range(8))):
        soundfile.write(tmp_path / f"{number}.wav", wav, RATE)
        rows.append(json.dumps({"audio": f"{number}.wav", "label": kind}))
    (tmp_path / "m.jsonl").write_text("\n".join(rows))

    def noisy(wav):
        noise = np.random.default_rng(len(wav)).normal(0, 0.2 * np.abs(wav).max(), len(wav))
        return (wav + noise).astype(np.float32)

    sources = [f"sound={tmp_path / 'm.jsonl'}"]
    plain, used = SoundClassifier.pair_of_sources(sources, noisy)
    held_out = [(wav, kind) for _, wav, kind in clips(("dog", "rain", "bell"), range(50, 60))]

    def right(judge):
        heard = [(noisy(resample(wav, RATE, 24_000)), kind) for wav, kind in held_out]
        return np.mean([judge.name(wav, 24_000) == kind for wav, kind in heard])

    assert right(used) > right(plain)
    assert plain.stamp == SoundClassifier.of_sources(sources).stamp != used.stamp
