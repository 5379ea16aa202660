"""Random draws of a step, as pure functions of the seed and the step number.

A resumed run draws the same numbers as an uninterrupted one, so no generator state is saved. All
processes draw the same.
"""

import hashlib
import math

import numpy as np

from .config import RunConfig


def draw_int(seed: int, purpose: str, *counters: int) -> int:
    """Return a uniform 63-bit integer that depends on the arguments only.

    Example:
        >>> draw_int(0, "window", 5) == draw_int(0, "window", 5)
        True
    """
    key = "/".join([str(seed), purpose, *map(str, counters)]).encode()
    return int.from_bytes(hashlib.blake2b(key, digest_size=8).digest(), "big") >> 1


def draw_unit(seed: int, purpose: str, *counters: int) -> float:
    """Return a uniform number in [0, 1) that depends on the arguments only."""
    return draw_int(seed, purpose, *counters) / 2**63


def seeded_generator(seed: int, *key: int) -> np.random.Generator:
    """Return a NumPy generator that depends on the seed and the key only."""
    return np.random.default_rng(np.random.SeedSequence((seed, *key)))


def lr_scale(config: RunConfig, step: int) -> float:
    """Return the learning rate of a step (0-based) as a share of the peak."""
    if step < config.warmup_steps:
        return (step + 1) / config.warmup_steps
    if config.schedule == "constant":
        return 1.0
    progress = (step - config.warmup_steps) / max(1, config.steps - config.warmup_steps)
    progress = min(1.0, progress)
    if config.schedule == "exponential":
        return float(config.lr_floor**progress)
    return config.lr_floor + (1 - config.lr_floor) * 0.5 * (1 + math.cos(math.pi * progress))
