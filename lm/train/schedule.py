"""When to log, validate and save."""

from __future__ import annotations

import time


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
