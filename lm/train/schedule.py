"""What happens when: the learning rate of a step, and when to log, validate and save."""

from __future__ import annotations

import math
import time

from .config import LMTrainingConfig


def lr_scale(config: LMTrainingConfig, step: int) -> float:
    """Learning rate of a step (0-based) as a share of the peak: warm-up, then the schedule."""
    if step < config.warmup_steps:
        return (step + 1) / config.warmup_steps
    if config.schedule == "constant":
        return 1.0
    progress = (step - config.warmup_steps) / max(1, config.steps - config.warmup_steps)
    progress = min(1.0, progress)
    return config.lr_floor + (1 - config.lr_floor) * 0.5 * (1 + math.cos(math.pi * progress))


def is_due(every: int, step: int, last: int) -> bool:
    """Whether something that happens every so many steps (0: never), and at the last, is due."""
    return step >= last or (every > 0 and step % every == 0)


class Clock:
    """Minutes since the last checkpoint."""

    def __init__(self, minutes: float) -> None:
        self._minutes = minutes
        self._since = time.monotonic()

    @property
    def due(self) -> bool:
        """Whether it is time."""
        return 0 < self._minutes <= (time.monotonic() - self._since) / 60

    def restart(self) -> None:
        """A checkpoint was written."""
        self._since = time.monotonic()
