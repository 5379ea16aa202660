"""Chroma, keys, onsets and tempo of tunes that are synthesized here."""

import numpy as np
import pytest

from almtok.core.metrics.music import (
    NAMES,
    correlation,
    key_of_text,
    measure_tune,
    rate_octaves,
    tempo_octaves,
)

RATE = 24_000
MELODY = (0, 4, 7, 12, 7, 4, 5, 2, 4, 0, 7, 11, 12, 7, 4, 0)  # C major, from C
DARK = (0, 3, 7, 12, 7, 3, 5, 2, 3, 0, 7, 8, 12, 7, 3, 0)  # C minor


def tune(notes=MELODY, shift=0, beat=0.5, timbre=(1.0, 0.5, 0.25), seconds=8.0, seed=None):
    """Decaying notes from C4, one per beat."""
    size = round(seconds * RATE)
    wav, length = np.zeros(size), round(beat * RATE)
    time = np.arange(length) / RATE
    for number, first in enumerate(range(0, size - length + 1, length)):
        hz = 261.63 * 2 ** ((notes[number % len(notes)] + shift) / 12)
        tones = sum(a * np.sin(2 * np.pi * hz * (k + 1) * time) for k, a in enumerate(timbre))
        wav[first : first + length] += 0.2 * tones * np.exp(-4 * time)
    if seed is not None:
        wav += np.random.default_rng(seed).normal(0, 0.003, size)
    return wav.astype(np.float32)


@pytest.fixture(scope="module")
def plain():
    return measure_tune(tune(), RATE)


def test_a_tune_is_in_its_key_at_its_tempo(plain):
    assert plain.key == "C major" and sum(plain.chroma) == pytest.approx(1, abs=1e-3)
    assert plain.onset_rate == pytest.approx(2.0, abs=0.15)
    assert tempo_octaves(plain.tempo, 120) < 0.03
    assert measure_tune(tune(DARK), RATE).key == "C minor"


@pytest.mark.parametrize("shift", [1, 5, 7, 11])
def test_a_transposed_tune_has_rotated_chroma_and_the_same_rhythm(plain, shift):
    other = measure_tune(tune(shift=shift), RATE)
    assert other.key == f"{NAMES[shift]} major"
    assert correlation(np.roll(plain.chroma, shift), other.chroma) > 0.9
    assert correlation(plain.chroma, other.chroma) < 0.6
    assert other.onset_rate == pytest.approx(plain.onset_rate, abs=0.15)
    assert tempo_octaves(plain.tempo, other.tempo) < 0.03


def test_a_tune_twice_as_fast_has_the_same_chroma_and_twice_the_onsets(plain):
    quick = measure_tune(tune(beat=0.25), RATE)
    assert correlation(plain.chroma, quick.chroma) > 0.95
    assert rate_octaves(plain.onset_rate, quick.onset_rate) == pytest.approx(1, abs=0.1)
    assert tempo_octaves(plain.tempo, quick.tempo) < 0.03  # an octave counts as equal
    other = measure_tune(tune(beat=0.5 / 1.3), RATE)
    assert tempo_octaves(plain.tempo, other.tempo) == pytest.approx(np.log2(1.3), abs=0.05)


def test_timbre_and_noise_change_little(plain):
    other = measure_tune(tune(timbre=(1.0, 0.1, 0.4, 0.2), seed=1), RATE)
    assert correlation(plain.chroma, other.chroma) > 0.8
    assert other.key == plain.key and other.onset_rate == pytest.approx(2.0, abs=0.15)
    louder = measure_tune(0.05 * tune(), RATE)
    assert louder.chroma == pytest.approx(plain.chroma, abs=1e-3)


def test_silence_steady_tones_and_short_clips_are_measured():
    silent = measure_tune(np.zeros(RATE), RATE)
    assert silent.key == "" and silent.onset_rate == 0 and silent.tempo == 0
    assert correlation(silent.chroma, measure_tune(tune(), RATE).chroma) == 0
    steady = np.sin(2 * np.pi * 440 * np.arange(2 * RATE) / RATE)
    assert measure_tune(steady, RATE).onset_rate <= 0.5
    assert measure_tune(steady, RATE).chroma[9] > 0.9
    assert measure_tune(np.ones(10), RATE).tempo == 0
    assert tempo_octaves(0, 120) == 0.5 and rate_octaves(0, 0) == 0 and rate_octaves(0, 9) == 4


def test_noise_has_no_key_to_speak_of():
    noise = np.random.default_rng(0).normal(0, 0.1, 4 * RATE)
    assert np.ptp(measure_tune(noise, RATE).chroma) < 0.05


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("Soundtrack music, warm, in B flat minor.", "B flat minor"),
        ("A reel in D major for flute", "D major"),
        ("a song in F# minor", "F sharp minor"),
        ("a song in Db major", "C sharp major"),
        ("a song in G-flat major", "F sharp major"),
        ("a song in Cb major", ""),
        ("music in A major key signature shop", "A major"),
        ("a majorette in a minor role", ""),
        ("A breakbeat drum loop.", ""),
    ],
)
def test_keys_of_captions(text, key):
    assert key_of_text(text) == key
