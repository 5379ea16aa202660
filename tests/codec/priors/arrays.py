"""A corpus of arrays, in place of decoded files; also imported by a test's own process."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class ArrayClip:
    id: str
    domain: str
    num_samples: int
    number: int


class ArrayCorpus:
    sample_rate = 24000

    def __init__(self, arrays):
        """`arrays`: (id, domain, float32 [S]) of each clip."""
        self.arrays = [array for _, _, array in arrays]
        self.clips = [
            ArrayClip(name, domain, len(array), number)
            for number, (name, domain, array) in enumerate(arrays)
        ]

    def read(self, clip, start, count):
        return self.arrays[clip.number][start : start + count]


def noises(speech=6, sound=4, music=2, seconds=1.0, seed=0):
    """Coloured noise of different lengths, the same in every process."""
    generator = np.random.default_rng(seed)
    arrays = []
    for domain, count in (("speech", speech), ("sound", sound), ("music", music)):
        for number in range(count):
            samples = int(24000 * seconds * (0.5 + generator.random()))
            noise = generator.standard_normal(samples)
            smooth = np.convolve(noise, np.ones(1 + number) / (1 + number), "same")
            arrays.append((f"{domain}-{number}", domain, (0.1 * smooth).astype(np.float32)))
    return ArrayCorpus(arrays)
