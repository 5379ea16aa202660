"""A Python that has torch, transformers and almtok loaded, for tests that start programs.

Most of the time of a short program goes into its imports. A server loads them once and forks a
process for each program. The client takes the arguments of ``python`` (``-m MODULE``, ``-c CODE``
or a file); its standard streams, environment, folder, signals and exit status are the program's:

    with warm_python(folder) as python:
        subprocess.run([python, "-m", "almtok", "run"])

Variables that libraries read when they are loaded (``OMP_NUM_THREADS``, ``ATEN_CPU_CAPABILITY``)
are those of the server. Tests of imports need a Python of their own.
"""

import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

LOADED = (
    "almtok",  # first of all: it installs the torchaudio guard
    *("accelerate", "peft", "pyarrow.parquet", "soundfile", "torch.distributed.launcher.api"),
    *("almtok.codec.train", "almtok.lm.train.run", "almtok.lm.data.tokenize"),
    *("almtok.tasks.pipelines", "almtok.recipes.run", "almtok.core.training.loop"),
)
FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_STREAMS = 3


@contextmanager
def warm_python(folder: Path) -> Iterator[str]:
    """The path of a program that is called as ``python`` is, while the block runs.

    Args:
        folder: for the program and its socket; a short path, as sockets ask for.
    """
    address, program = folder / "socket", folder / "python"
    client = f'exec "{sys.executable}" -S -E "{Path(__file__).resolve()}" "{address}" "$@"'
    program.write_text(f"#!/bin/sh\n{client}\n")
    program.chmod(0o755)
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(address))
    listening.listen(64)  # who asks before everything is loaded waits
    server = subprocess.Popen(
        [sys.executable, str(Path(__file__).resolve()), "--serve", str(listening.fileno())],
        stdin=subprocess.PIPE,  # closed when the tests end, however they do
        pass_fds=[listening.fileno()],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    listening.close()
    try:
        yield str(program)
    finally:
        assert server.stdin is not None
        server.stdin.close()
        server.wait()


# ---------------------------------------------------------------------- client


def _ask(address: str, arguments: list[str]) -> NoReturn:
    """Have a program run in place of this process, and end as it ends."""
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.connect(address)
    except ConnectionRefusedError:
        sys.exit("there is no server of warm Pythons")
    for number in FORWARDED:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, lambda n, _: connection.sendall(b"%d\n" % n))
    request = {"arguments": arguments, "environment": dict(os.environ), "folder": os.getcwd()}
    message = json.dumps(request).encode()
    socket.send_fds(connection, [b"%d\n" % len(message)], list(range(_STREAMS)))
    connection.sendall(message)
    try:
        answer = connection.makefile().readline()
    except ConnectionResetError:
        answer = ""
    if not answer:
        sys.exit("the server of warm Pythons is gone")
    status = int(answer)
    if status < 0:
        if -status != signal.SIGKILL:
            signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    os._exit(status)


# ---------------------------------------------------------------------- server


def _serve(descriptor: int) -> None:
    import importlib

    for name in LOADED:
        importlib.import_module(name)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the keepers
    listening = socket.socket(fileno=descriptor)
    while True:
        ready, _, _ = select.select([listening, sys.stdin], [], [])
        if sys.stdin in ready:
            os._exit(0)
        connection, _ = listening.accept()
        if os.fork() == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            listening.close()
            _keep(connection)
        connection.close()


def _keep(connection: socket.socket) -> NoReturn:
    """Fork the program, pass it the client's signals, and tell the client how it ended."""
    first, streams, _, _ = socket.recv_fds(connection, 32, _STREAMS)
    length, _, body = first.partition(b"\n")
    while len(body) < int(length):
        body += connection.recv(1 << 16)
    program = os.fork()
    if program == 0:
        connection.close()
        _become(json.loads(body), streams)
    for stream in streams:
        os.close(stream)
    process = os.pidfd_open(program)
    while True:
        ready, _, _ = select.select([process, connection], [], [])
        if process in ready:
            break
        numbers = connection.recv(64).split()
        for number in numbers or [b"9"]:  # a client that was killed takes its program with it
            os.kill(program, int(number))
        if not numbers:
            os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(program, 0)[1])
    connection.sendall(b"%d\n" % status)
    os._exit(0)


def _become(request: dict[str, Any], streams: list[int]) -> NoReturn:
    """Run the program as a new Python would."""
    import atexit
    import threading
    import traceback

    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    sys.stdin = open(0, encoding="utf-8", closefd=False)
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)
    sys.stderr = open(2, "w", 1, encoding="utf-8", errors="backslashreplace", closefd=False)
    os.environ.clear()
    os.environ.update(request["environment"])
    os.chdir(request["folder"])
    paths = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    sys.path[:0] = [path for path in paths if path and path not in sys.path]
    for number in FORWARDED:
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    status: Any = 0
    try:
        _run(*request["arguments"])
    except SystemExit as stop:
        status = stop.code
        if isinstance(status, str):
            print(status, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
        status = 1
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream_ in (sys.stdout, sys.stderr):
        try:
            stream_.flush()
        except (BrokenPipeError, ValueError):
            status = status or 120
    os._exit(0 if status is None else status if isinstance(status, int) else 1)


def _run(kind: str, *rest: str) -> None:
    import runpy
    import types

    if kind == "-m":
        sys.argv = [rest[0], *rest[1:]]
        sys.path.insert(0, os.getcwd())
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
    elif kind == "-c":
        sys.argv = ["-c", *rest[1:]]
        sys.path.insert(0, "")
        sys.modules["__main__"] = main = types.ModuleType("__main__")
        exec(compile(rest[0], "<string>", "exec"), main.__dict__)
    else:
        sys.argv = [kind, *rest]
        sys.path.insert(0, str(Path(kind).resolve().parent))
        runpy.run_path(kind, run_name="__main__")


if __name__ == "__main__":
    if sys.argv[1] == "--serve":
        # As in a program that starts by itself: modules of tests are not beside the script's.
        sys.path.pop(0)
        _serve(int(sys.argv[2]))
    else:
        _ask(sys.argv[1], sys.argv[2:])
