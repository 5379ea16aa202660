"""Ctrl-C and SIGTERM as a wish that the loop reads at the end of a step."""

import signal
import sys
from types import FrameType
from typing import Any


class Interrupt:
    """While this context is open, the first SIGINT or SIGTERM is noted; a second one ends at once.

    Attributes:
        signal: Number of the signal that came, if one did.
    """

    def __init__(self) -> None:
        self.signal: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "Interrupt":
        for number in (signal.SIGINT, signal.SIGTERM):
            try:
                self._before[number] = signal.signal(number, self._note)
            except ValueError:  # not in the main thread: signals go elsewhere
                pass
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.signal is not None:
            raise KeyboardInterrupt
        self.signal = number
        print("\nsaving after this step; once more ends at once", file=sys.stderr, flush=True)
