"""A stage's process: one of its own, but born with the libraries loaded.

Loading torch and transformers takes four seconds, more than many a stage needs for its work. A
server that loaded them once and does nothing else is forked for each stage (`multiprocessing`'s
own); where there is no fork, each stage is a new Python.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress

# What most stages need. They start no threads and open no device while they are loaded.
_LOADED = (
    "almtok.codec.train.loop",
    "almtok.lm.train.run",
    "almtok.tasks.commands.speak",
    "almtok.tasks.commands.evaluate",
)


def run_process(words: Sequence[str]) -> int:
    """Run a command `almtok ...` or `python -c ...` in a process of its own, by this very Python.

    Ctrl-C reaches that process too, and a SIGTERM is passed on: it saves and ends, and is waited
    for.

    Returns:
        Its exit status; the negative number of the signal that ended it.
    """
    forks = "forkserver" in multiprocessing.get_all_start_methods()
    number, wait = (_fork if forks else _new)(words)
    with _passing_on(number):
        while True:
            try:
                return wait()
            except KeyboardInterrupt:
                continue


def _new(words: Sequence[str]) -> tuple[int, Callable[[], int]]:
    """A new Python: its number, and what waits for it."""
    start = ["-m", "almtok"] if words[0] == "almtok" else []
    process = subprocess.Popen([sys.executable, *start, *words[1:]])
    return process.pid, process.wait


def _fork(words: Sequence[str]) -> tuple[int, Callable[[], int]]:
    """A fork of the server: its number, and what waits for it."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(_LOADED))
    sys.stdout.flush()
    process = context.Process(target=_run, args=(list(words), os.getcwd()))
    process.start()

    def wait() -> int:
        process.join()
        assert process.exitcode is not None
        return process.exitcode

    assert process.pid is not None
    return process.pid, wait


@contextmanager
def _passing_on(number: int) -> Iterator[None]:
    """Meanwhile hand SIGTERM on to a process, so that none is left alone."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread hears signals
        return

    def hand_on(signum: int, _frame: object) -> None:
        with suppress(ProcessLookupError):
            os.kill(number, signum)

    before = signal.signal(signal.SIGTERM, hand_on)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _run(words: list[str], folder: str) -> None:
    """What the fork does; ends it with the command's exit status."""
    os.chdir(folder)
    if words[0] == "almtok":
        from almtok.__main__ import main

        sys.exit(main(words[1:]))
    sys.argv = ["-c", *words[3:]]
    exec(words[2], {"__name__": "__main__"})  # as `python -c` would
