"""How `almtok serve` answers many clients at once: first sound, throughput, failures.

    python -m benchmarks.serve_load --clients 1 8 32 64 --seconds 20

A server process is started on a free port. For each number of clients, every client asks for speech
as PCM, again and again for some seconds; the texts and seeds are the same in every run. First sound
is the time from sending a request to its first byte of audio. Throughput is the audio of all
answers, by the time from the first request to the end of the last answer.
"""

from __future__ import annotations

import asyncio
import os
import re
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from almtok.core.files import write_text
from almtok.core.options import Command

from .harness import ROOT, environment, markdown_table

TEXTS = (
    "Good morning!",
    "The train leaves at noon.",
    "She closed the door and walked to the river.",
    "A cat sat on the mat, and nobody knew why.",
    "Please call me when you are back in the office.",
    "It rained all day, so we stayed at home.",
)
RATE, BYTES = 24_000, 2  # of PCM
_STOP_SECONDS = 60.0
COLUMNS = (
    "clients", "answers", "failures", "first sound, median", "95 %", "whole answer, median",
    "audio s per s", "processes of the machine",
)  # fmt: skip


@dataclass
class Level:
    """What a number of clients met."""

    clients: int
    first_sounds: list[float] = field(default_factory=list)  # seconds
    wholes: list[float] = field(default_factory=list)  # seconds
    audio: float = 0.0  # seconds
    failures: int = 0
    wall: float = 0.0  # seconds
    load: float = 0.0  # processes that wanted to run, of the last minute

    def row(self) -> list[str]:
        """As a row of the table."""
        first, whole = sorted(self.first_sounds), sorted(self.wholes)
        late = first[min(len(first) - 1, int(0.95 * len(first)))] if first else None
        return [
            str(self.clients), str(len(whole)), str(self.failures),
            _seconds(statistics.median(first) if first else None), _seconds(late),
            _seconds(statistics.median(whole) if whole else None),
            f"{self.audio / self.wall:.2f}", f"{self.load:.1f}",
        ]  # fmt: skip


@contextmanager
def server(options: Sequence[str], timeout: float) -> Iterator[str]:
    """Run `almtok serve` with these options in a process; yield its address.

    Raises:
        RuntimeError: if it does not listen within `timeout` seconds; with its last words.
    """
    command = [sys.executable, "-m", "almtok", "serve", "--port", "0", *options]
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env={"OMP_WAIT_POLICY": "passive", **os.environ},
    )  # fmt: skip
    lines: list[str] = []
    address: list[str] = []
    listening = threading.Event()

    def read() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(line)
            if found := re.search(r"listening on (http://\S+)", line):
                address.append(found[1])
                listening.set()
        listening.set()

    threading.Thread(target=read, daemon=True).start()
    try:
        if not listening.wait(timeout) or not address:
            raise RuntimeError(f"almtok serve did not start: {''.join(lines[-5:]).strip()}")
        yield address[0]
    finally:
        process.terminate()
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


async def measure(address: str, model: str, clients: int, seconds: float, timeout: float) -> Level:
    """Let clients ask for so many seconds; answers that are begun are waited for."""
    level = Level(clients)
    limits = httpx.Limits(max_connections=clients, max_keepalive_connections=clients)
    start = time.perf_counter()
    async with httpx.AsyncClient(base_url=address, timeout=timeout, limits=limits) as http:

        async def ask_again_and_again(client: int) -> None:
            number = client
            while True:
                await _ask(http, level, model, number)
                number += clients
                if time.perf_counter() - start >= seconds:
                    return

        await asyncio.gather(*map(ask_again_and_again, range(clients)))
    level.wall, level.load = time.perf_counter() - start, os.getloadavg()[0]
    return level


async def _ask(http: httpx.AsyncClient, level: Level, model: str, number: int) -> None:
    text = TEXTS[number % len(TEXTS)]
    body = {"model": model, "input": text, "seed": number, "response_format": "pcm"}
    start, first, size = time.perf_counter(), None, 0
    try:
        async with http.stream("POST", "/v1/audio/speech", json=body) as answer:
            answer.raise_for_status()
            async for piece in answer.aiter_bytes():
                first = first or time.perf_counter() - start
                size += len(piece)
    except httpx.HTTPError:
        level.failures += 1
        await asyncio.sleep(0.1)  # a server that refuses must not be asked without a pause
        return
    if first is None:
        level.failures += 1
        return
    level.first_sounds.append(first)
    level.wholes.append(time.perf_counter() - start)
    level.audio += size / BYTES / RATE


def report(levels: Sequence[Level]) -> str:
    """The table, and the machine."""
    machine = environment()
    text = ", ".join(
        f"{name} {machine[name]}" for name in ("processor", "cores", "python", "torch")
    )
    return f"{markdown_table(COLUMNS, [level.row() for level in levels])}\n\n{text}\n"


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f} s"


def main() -> None:
    """Run the benchmark."""
    parser = Command(prog="python -m benchmarks.serve_load", description=__doc__)
    add = parser.add_argument
    add("--clients", nargs="+", type=int, default=[1, 8, 32, 64], help="numbers of clients")
    add("--seconds", default=20.0, help="no request is sent later, for each number")
    add("--timeout", default=180.0, help="seconds for the start of the server, and for an answer")
    add("--options", nargs="*", default=[], metavar="WORD", help="of almtok serve, without --")
    add("--out", type=Path, metavar="FILE", help="write the table there, too")
    args = parser.parse_args()
    levels: list[Level] = []
    options = [word if number % 2 else f"--{word}" for number, word in enumerate(args.options)]
    with server(options, args.timeout) as address:
        model = httpx.get(f"{address}/v1/models", timeout=args.timeout).json()["data"][0]["id"]
        asyncio.run(measure(address, model, 1, 0.0, args.timeout))  # a warm-up
        for clients in args.clients:
            run = measure(address, model, clients, args.seconds, args.timeout)
            levels.append(asyncio.run(run))
            print(" | ".join(levels[-1].row()), flush=True)
    text = report(levels)
    print(text)
    if args.out is not None:
        write_text(args.out, text)


if __name__ == "__main__":
    main()
