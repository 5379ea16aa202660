"""Wall-clock time, processor time and memory, on a machine that other processes use too."""

from __future__ import annotations

import os
import resource
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

# Shorter calls are repeated for as long: the kernel counts processor time in steps of 10 ms.
_BLOCK_SECONDS = 0.2


@dataclass(frozen=True)
class Timing:
    """Seconds of one call."""

    median: float  # wall-clock
    fastest: float  # wall-clock
    cpu: float  # processor seconds over all threads; depends little on other processes
    runs: int  # number of measurements
    others: float  # share of the machine used by other processes meanwhile, 0 to 1


def peak_mb() -> float:
    """Peak resident memory of this process so far, in MB of 2**20 bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024.0


def _machine() -> list[int]:
    try:
        with open("/proc/stat") as file:
            return [int(number) for number in file.readline().split()[1:9]]
    except OSError:
        return []


def _cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def _others(before: list[int], after: list[int], own_seconds: float) -> float:
    own = own_seconds * os.sysconf("SC_CLK_TCK")
    spent = [b - a for a, b in zip(before, after, strict=True)]
    total = sum(spent)
    return max(0.0, (total - spent[3] - spent[4] - own) / total) if total > 0 else 0.0


def measure(run: Callable[[], Any], *, budget: float = 5.0, runs: int = 3) -> Timing:
    """Time a call after one warm-up call.

    If the warm-up call takes more than twice the budget, it is the measurement.

    Args:
        run: function to time.
        budget: seconds of measuring.
        runs: minimum number of measurements.
    """
    before, own = _machine(), _cpu()
    start = time.perf_counter()
    run()
    first = time.perf_counter() - start
    if first > 2 * budget:
        cpu = _cpu() - own
        return Timing(first, first, cpu, 1, _others(before, _machine(), cpu))
    before, own = _machine(), _cpu()
    begin, walls, calls = time.perf_counter(), [], 0
    while len(walls) < runs or time.perf_counter() - begin < budget:
        block = time.perf_counter()
        count = 0
        while count == 0 or time.perf_counter() - block < _BLOCK_SECONDS:
            run()
            count += 1
        walls.append((time.perf_counter() - block) / count)
        calls += count
    cpu = _cpu() - own
    others = _others(before, _machine(), cpu)
    return Timing(statistics.median(walls), min(walls), cpu / calls, len(walls), others)


def free_gib() -> float:
    """Available memory of this machine in GiB."""
    try:
        with open("/proc/meminfo") as file:
            for line in file:
                if line.startswith("MemAvailable:"):
                    return int(line.split()[1]) / 2**20
    except OSError:
        pass
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
