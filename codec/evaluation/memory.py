"""Peak memory of a stretch of code."""

from __future__ import annotations

import contextlib
import resource
import sys
from pathlib import Path

import torch

_STATUS = Path("/proc/self/status")


class PeakMemory:
    """Highest resident memory (on a GPU: allocated memory) between `start` and `megabytes`.

    MPS, which shares the machine's memory, keeps no peak of its own: there it is the process's.
    Linux lets a process reset its own high-water mark; elsewhere the peak is the one since the
    process began.
    """

    def __init__(self, device: str | torch.device = "cpu") -> None:
        self.device = torch.device(device)
        module = torch.get_device_module(self.device)
        self._own = module if hasattr(module, "max_memory_allocated") else None

    def start(self) -> None:
        """Forget the peak so far."""
        if self._own is not None:
            self._own.reset_peak_memory_stats(self.device)
            return
        with contextlib.suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")

    def megabytes(self) -> float:
        """The peak since `start`, in MB of 2**20 bytes."""
        if self._own is not None:
            return float(self._own.max_memory_allocated(self.device)) / 2**20
        with contextlib.suppress(OSError, ValueError, IndexError):
            for line in _STATUS.read_text().splitlines():
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) / 1024.0
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak / 2**20 if sys.platform == "darwin" else peak / 1024.0
