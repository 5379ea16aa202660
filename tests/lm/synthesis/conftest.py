"""A synthesizer that hums, in a file as a user would write it."""

import pytest

HUM = """
import os
import time

import numpy as np


def speak(text, voice, speed, seed):
    time.sleep(float(os.environ.get("HUM_SECONDS", 0)))
    rng = np.random.default_rng(seed)
    seconds = (0.3 + 0.07 * len(text)) / speed
    hertz = 100 + sum(map(ord, voice)) % 200
    wav = 0.1 * np.sin(2 * np.pi * hertz * np.arange(round(16000 * seconds)) / 16000)
    return (wav + 0.01 * rng.standard_normal(len(wav))).astype(np.float32), 16000


def silent_twice(text, voice, speed, seed):
    wav, rate = speak(text, voice, speed, seed)
    return (wav * 0 if "silence" in text or (seed % 3 and "hard" in text) else wav), rate


def clipped(text, voice, speed, seed):
    wav, rate = speak(text, voice, speed, seed)
    return np.clip(20 * wav, -1, 1), rate


def long(text, voice, speed, seed):
    wav, rate = speak(text, voice, speed, seed)
    return np.tile(wav, 20), rate


def broken(text, voice, speed, seed):
    raise RuntimeError("no such phone")
"""


@pytest.fixture
def hum(tmp_path):
    """The file with the functions, as a string."""
    path = tmp_path / "hum.py"
    path.write_text(HUM)
    return str(path)


@pytest.fixture
def texts(tmp_path):
    """A text file of ten lines."""
    path = tmp_path / "texts.txt"
    path.write_text("".join(f"This is line number {n}.\n" for n in range(10)))
    return str(path)
