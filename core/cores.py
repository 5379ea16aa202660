"""Processor cores that this process may use, and how threads wait. Does not import torch."""

from __future__ import annotations

import math
import os
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")
# Iterations, about 20 microseconds. libgomp's default is milliseconds: while another program uses a
# core, speech takes ten times as long. Without any, threads are put to sleep between operations.
_SPIN_COUNT = "10000"


def limit_spinning() -> None:
    """Let threads of OpenMP spin for microseconds before they sleep; before torch is loaded.

    `OMP_WAIT_POLICY` and `GOMP_SPINCOUNT` are respected. Programs that this one starts inherit it.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", _SPIN_COUNT)


def available_cores(cgroup: Path = _CGROUP) -> int:
    """Return the number of cores of the affinity mask, or of a container's quota if smaller.

    Args:
        cgroup: Mount point of the control groups.
    """
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    quota = _quota(cgroup)
    return cores if quota is None else max(1, min(cores, math.ceil(quota)))


def _quota(cgroup: Path) -> float | None:
    """Quota of control groups (version 2 or 1) in cores; None without a limit."""
    try:
        granted, _, period = (cgroup / "cpu.max").read_text().strip().partition(" ")
        return None if granted == "max" else int(granted) / int(period)
    except (OSError, ValueError):
        pass
    try:
        granted = (cgroup / "cpu" / "cpu.cfs_quota_us").read_text()
        period = (cgroup / "cpu" / "cpu.cfs_period_us").read_text()
        return int(granted) / int(period) if int(granted) > 0 else None
    except (OSError, ValueError):
        return None
