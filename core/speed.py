"""Speed of matrix products, for `almtok doctor`."""

from __future__ import annotations

import time

import torch

_SIZE = 512  # of the matrices: enough for two cores, and not too slow if emulated


def product_speed(device: torch.device, dtype: torch.dtype, seconds: float = 0.2) -> float:
    """Measure products of 512 x 512 matrices.

    Args:
        device: Of the matrices.
        dtype: Of the matrices.
        seconds: Duration of the measurement; at least two products are computed.

    Returns:
        Speed of the fastest product in GFLOP/s.
    """
    a = torch.full((_SIZE, _SIZE), 0.5, device=device, dtype=dtype)
    best, start = float("inf"), time.perf_counter()
    count = 0
    while count < 2 or time.perf_counter() - start < seconds:
        before = time.perf_counter()
        a @ a
        if device.type != "cpu":
            torch.accelerator.synchronize()
        best = min(best, time.perf_counter() - before)
        count += 1
    return 2 * _SIZE**3 / best / 1e9
