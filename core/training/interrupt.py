"""Signals that end a training after it has saved."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from types import FrameType
from typing import Any

_HANGUP = getattr(signal, "SIGHUP", None)  # the terminal was closed; not on Windows
_SIGNALS = tuple(s for s in (signal.SIGINT, signal.SIGTERM, _HANGUP) if s is not None)


class Interrupt:
    """Context that records the first SIGINT, SIGTERM or SIGHUP; a second one raises an exception.

    SIGHUP is left alone where it is ignored (`nohup`), and is not counted as a second signal: who
    closes a terminal often causes two. Output to a closed terminal is discarded.

    Attributes:
        signal: Number of the signal that arrived, or None.
    """

    def __init__(self) -> None:
        self.signal: int | None = None
        self._before: dict[int, Any] = {}
        self._terminals: list[int] = []

    def __enter__(self) -> Interrupt:
        self._terminals = [number for number in (1, 2) if _is_terminal(number)]
        for number in _SIGNALS:
            if number == _HANGUP and signal.getsignal(number) == signal.SIG_IGN:
                continue
            try:
                self._before[number] = signal.signal(number, self._record)
            except ValueError:  # not in the main thread: signals are handled elsewhere
                pass
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _record(self, number: int, frame: FrameType | None) -> None:
        if number == _HANGUP:
            self._discard_output()
        if self.signal is not None:
            if _HANGUP in (number, self.signal):
                return
            raise KeyboardInterrupt
        self.signal = number
        with contextlib.suppress(OSError, ValueError, RuntimeError):  # closed, or being written
            message = "saving after this step; a second signal exits at once"
            print(f"\n{message}", file=sys.stderr, flush=True)

    def _discard_output(self) -> None:
        """Writing to a terminal that was closed is an error, which would end the training."""
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for terminal in self._terminals:
            os.dup2(nowhere, terminal)
        os.close(nowhere)


def ignore_signals(worker: int) -> None:
    """Ignore these signals in a data loading process: Ctrl-C reaches all processes."""
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def _is_terminal(descriptor: int) -> bool:
    try:
        return os.isatty(descriptor)
    except OSError:
        return False
