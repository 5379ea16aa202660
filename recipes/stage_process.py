"""Run a stage in its own process, with the libraries already loaded.

Importing torch and transformers takes four seconds, longer than many stages. `multiprocessing`'s
fork server imports them once and is forked for every stage; on systems without fork every stage
starts a new Python.
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
    this function waits for it.

    Returns:
        Exit status, or the negative number of the signal that ended the process.
    """
    forks = "forkserver" in multiprocessing.get_all_start_methods()
    pid, wait = (_fork if forks else _spawn)(argv)
    with _forward_sigterm(pid):
        while True:
            try:
                return wait()
            except KeyboardInterrupt:
                continue


def _spawn(argv: Sequence[str]) -> tuple[int, Callable[[], int]]:
    """Start a new Python; return its process id and a function that waits for it."""
    start = ["-m", "almtok"] if argv[0] == "almtok" else []
    process = subprocess.Popen([sys.executable, *start, *argv[1:]])
    return process.pid, process.wait


def _fork(argv: Sequence[str]) -> tuple[int, Callable[[], int]]:
    """Fork the server; return the process id and a function that waits for it."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(_LOADED))
    sys.stdout.flush()
    process = context.Process(target=_run, args=(list(argv), os.getcwd()))
    process.start()

    def wait() -> int:
        process.join()
        assert process.exitcode is not None
        return process.exitcode

    assert process.pid is not None
    return process.pid, wait


@contextmanager
def _forward_sigterm(pid: int) -> Iterator[None]:
    """Forward SIGTERM to a process while the context is open."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread receives signals
        return

    def forward(signum: int, _frame: object) -> None:
        with suppress(ProcessLookupError):
            os.kill(pid, signum)

    before = signal.signal(signal.SIGTERM, forward)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _run(argv: list[str], folder: str) -> None:
    """Run the command in the fork and exit with its status."""
    os.chdir(folder)
    if argv[0] == "almtok":
        from almtok.__main__ import main

        sys.exit(main(argv[1:]))
    sys.argv = ["-c", *argv[3:]]
    exec(argv[2], {"__name__": "__main__"})  # as `python -c` would
