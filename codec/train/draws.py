"""Everything random about a step, as pure functions of the seed and the step's number.

Because nothing here has a memory, a run that goes on from step ``n`` draws what the uninterrupted
run drew from ``n`` on: exact resume needs no generator states. All processes draw the same.
"""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

from .config import CodecTrainConfig
from .run_config import RunConfig


@dataclass(frozen=True)
class StepDraw:
    """What is decided once per optimiser step."""

    frames_per_query: int
    update_discriminators: bool
    lr_scale: float  # share of the peak learning rate


def draw_int(seed: int, purpose: str, *counters: int) -> int:
    """A uniform 63-bit integer that depends on the arguments only.

    Example:
        >>> draw_int(0, "window", 5) == draw_int(0, "window", 5)
        True
    """
    key = "/".join([str(seed), purpose, *map(str, counters)]).encode()
    return int.from_bytes(hashlib.blake2b(key, digest_size=8).digest(), "big") >> 1


def draw_unit(seed: int, purpose: str, *counters: int) -> float:
    """A uniform number in [0, 1) that depends on the arguments only."""
    return draw_int(seed, purpose, *counters) / 2**63


def lr_scale(config: RunConfig, step: int) -> float:
    """Learning rate of a step (0-based) as a share of the peak: warm-up, then the schedule."""
    if step < config.warmup_steps:
        return (step + 1) / config.warmup_steps
    if config.schedule == "constant":
        return 1.0
    progress = (step - config.warmup_steps) / max(1, config.steps - config.warmup_steps)
    progress = min(1.0, progress)
    if config.schedule == "exponential":
        return float(config.lr_floor**progress)
    return config.lr_floor + (1 - config.lr_floor) * 0.5 * (1 + math.cos(math.pi * progress))


def draw_step(config: CodecTrainConfig, step: int, window_range: Sequence[int]) -> StepDraw:
    """The draw of step ``step``: w uniform in the range (paper.md 2.1), and the rest.

    Args:
        config: The run's configuration.
        step: Number of the optimiser step, from 0.
        window_range: Smallest and largest frames per query, both included.
    """
    low, high = window_range
    window = low + draw_int(config.seed, "window", step) % (high - low + 1)
    chance = draw_unit(config.seed, "discriminator", step)
    return StepDraw(
        frames_per_query=window,
        update_discriminators=chance < config.discriminator_probability,
        lr_scale=lr_scale(config, step),
    )
