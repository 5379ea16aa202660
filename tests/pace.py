"""How slow this machine is now, by which every time limit of the tests is stretched.

Limits are there for what hangs, and are said in seconds of a named machine: two cores of an Intel
Xeon with AVX-512 and AMX, nothing else running. A slower or a busy machine has proportionally more.
"""

import subprocess
import sys
import time
from collections.abc import Callable
from functools import cache

# Seconds on that machine.
PROGRAM, ARITHMETIC = 3.0, 0.055
# A machine that was idle when the last limit was set may be busy when the next one is.
SECONDS_UNTIL_IT_IS_MEASURED_AGAIN = 20.0

_last = (-float("inf"), 1.0)


def pace() -> float:
    """This machine's seconds for one of the named machine's; never less than 1."""
    global _last
    when, value = _last
    if time.monotonic() - when > SECONDS_UNTIL_IT_IS_MEASURED_AGAIN:
        value = max(1.0, _program() / PROGRAM, _arithmetic() / ARITHMETIC)
        _last = (time.monotonic(), value)
    return value


def patience(seconds: float) -> float:
    """As long as so many seconds of the named machine."""
    return seconds * pace()


def wait_until(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    """Look every few milliseconds; what does not come within our patience fails."""
    until = time.monotonic() + patience(seconds)
    while not condition():
        assert time.monotonic() < until, f"not within {seconds:.0f} s of a quiet machine"
        time.sleep(0.002)


@cache
def _program() -> float:
    """Seconds of a program that loads torch: measured once, most of what slow tests wait for."""
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import torch"], check=True)
    return time.perf_counter() - start


def _arithmetic() -> float:
    """Seconds of a little training and a little Python."""
    import torch

    state = torch.get_rng_state()
    conv, linear = torch.nn.Conv1d(64, 64, 7), torch.nn.Linear(506, 256)
    x = torch.ones(1, 64, 512)
    start = time.perf_counter()
    for _ in range(20):
        linear(conv(x)).square().sum().backward()
    sum(number * number for number in range(200_000))
    seconds = time.perf_counter() - start
    torch.set_rng_state(state)
    return seconds
