"""Number of processor cores that this process may use. Does not import torch."""

from __future__ import annotations

import math
import os
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")


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
