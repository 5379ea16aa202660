"""How fast this machine multiplies matrices: shown by `doctor`."""

from __future__ import annotations

import time

import torch

_SIZE = 512  # of the matrices: large enough to fill two cores, small enough where it is emulated


def product_speed(device: torch.device, dtype: torch.dtype, seconds: float = 0.2) -> float:
    """Measure products of two matrices of 512 x 512.

    Args:
        device: Where.
        dtype: Of the matrices.
        seconds: Time to spend, at least two products.

    Returns:
        10^9 operations a second, of the fastest product.
    """
    a = torch.full((_SIZE, _SIZE), 0.5, device=device, dtype=dtype)
    best, start = float("inf"), time.perf_counter()
    done = 0
    while done < 2 or time.perf_counter() - start < seconds:
        before = time.perf_counter()
        a @ a
        if device.type != "cpu":
            torch.accelerator.synchronize()
        best = min(best, time.perf_counter() - before)
        done += 1
    return 2 * _SIZE**3 / best / 1e9
