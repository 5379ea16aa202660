"""Run a stage in its own process, with the libraries already loaded.

Importing torch and transformers takes four seconds, longer than many stages. `multiprocessing`'s
fork server imports them once and is forked for every stage; on systems without fork every stage
starts a new Python.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

# Imported by the fork server. Their import starts no thread and opens no device.
_LOADED = (
    "almtok.codec.train.trainer",
    "almtok.lm.train.run",
    "almtok.tasks.commands.speak",
    "almtok.tasks.commands.evaluate",
)


def run_process(argv: Sequence[str]) -> int:
    """Run a command `almtok ...` or `python -c ...` in its own process, with this Python.

    Ctrl-C reaches that process too, and SIGTERM is forwarded; a training then saves and ends, and
    this function waits for it. If this process is killed, the other gets SIGTERM.

    Returns:
        Exit status, or the negative number of the signal that ended the process.
    """
    forks = "forkserver" in multiprocessing.get_all_start_methods()
    context: Any = multiprocessing.get_context("forkserver" if forks else "spawn")
    if forks:
        context.set_forkserver_preload(list(_LOADED))
    sys.stdout.flush()
    process = context.Process(target=_run, args=(list(argv), os.getcwd()))
    with _forward_signals() as started:
        process.start()
        started(process.pid)
        process.join()
    return int(process.exitcode)


@contextmanager
def _forward_signals() -> Iterator[Callable[[int], None]]:
    """Outlive Ctrl-C, which the terminal sends to both processes, and forward SIGTERM and SIGHUP.

    The process is started inside the context: a signal at any moment finds a handler. One that
    arrives during the start is sent when the function this context yields gets the process id.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda _pid: None  # only the main thread receives signals
        return
    pid = None
    early = False

    def forward(number: int, _frame: object) -> None:
        nonlocal early
        if number == signal.SIGINT:
            return
        if pid is None:
            early = True
            return
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)

    def started(number: int) -> None:
        nonlocal pid
        pid = number
        if early:
            forward(signal.SIGTERM, None)

    handled = (signal.SIGINT, signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM))
    numbers = {number for number in handled if signal.getsignal(number) != signal.SIG_IGN}
    before = {number: signal.signal(number, forward) for number in numbers}
    try:
        yield started
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _end_with_parent() -> None:
    """Send SIGTERM to this process when the one that started it has ended."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)


def _run(argv: list[str], folder: str) -> None:
    """Run the command in the fork and exit with its status."""
    os.chdir(folder)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if argv[0] == "almtok":
        from almtok.__main__ import main

        sys.exit(main(argv[1:]))
    sys.argv = ["-c", *argv[3:]]
    exec(argv[2], {"__name__": "__main__"})  # as `python -c` would
