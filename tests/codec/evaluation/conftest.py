"""Clips and codecs that cost nothing."""

import almtok  # noqa: F401, I001

import numpy as np
import pytest

from almtok.codec.evaluation.codecs import CodecResult, EvaluatedCodec
from almtok.codec.evaluation.harness import EvaluationClip

RATE = 24_000


def make_voice(seconds=1.5, hz=140.0, rate=RATE, seed=0):
    """A buzzing vowel with syllables: enough like speech for every score."""
    rng = np.random.default_rng(seed)
    t = np.arange(int(seconds * rate)) / rate
    phase = 2 * np.pi * np.cumsum(hz * (1 + 0.1 * np.sin(2 * np.pi * 0.7 * t))) / rate
    wave = sum(
        np.exp(-((k * hz - 600) ** 2) / 2e6) * np.sin(k * phase) / k**0.5 for k in range(1, 30)
    )
    syllables = np.clip(np.sin(2 * np.pi * 3 * t), 0, None) ** 0.5
    return (0.1 * wave * syllables + 0.0005 * rng.standard_normal(t.size)).astype(np.float32)


class NoisyCodec(EvaluatedCodec):
    """Adds noise; fails on clips longer than it likes."""

    frame_rate = 50.0
    codebook_size = 16

    def __init__(self, name="noisy", level=0.01, sample_rate=RATE, longest=None):
        self.name, self.level, self.sample_rate, self.longest = name, level, sample_rate, longest
        self.kbps = 0.4
        self.calls = 0

    def code(self, wav):
        self.calls += 1
        if self.longest is not None and wav.size > self.longest * self.sample_rate:
            raise MemoryError(f"{wav.size} samples do not fit")
        rng = np.random.default_rng(wav.size)
        noise = self.level * rng.standard_normal(wav.size).astype(np.float32)
        codes = rng.integers(0, 16, (2, max(1, wav.size // 480)))
        return CodecResult(wav + noise, codes, codes.size * 4, 0.01, 0.02)


@pytest.fixture
def clips():
    return [
        EvaluationClip(
            id=f"{domain}/{number}",
            domain=domain,
            seconds=1.0 + number,
            read=lambda n=number: make_voice(1.0 + n, seed=n),
        )
        for domain in ("speech", "music")
        for number in range(2)
    ]
