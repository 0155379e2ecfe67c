"""What this CPU copies and multiplies at most: the ceilings that times of calls are held to."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from vidtok_edge.runtime.bench.ceilings import Ceilings

__all__ = ["cpu_ceilings"]

CALLS = 10


def cpu_ceilings(megabytes: int = 256, side: int = 2048) -> Ceilings:
    """By NumPy, with as many threads as it takes: a copy, read and written bytes together, and a
    product of square matrices, the best of several."""
    source = np.ones(megabytes * 250_000, np.float32)
    target, square = np.empty_like(source), np.ones((side, side), np.float32)

    def copy() -> None:
        target[...] = source

    return Ceilings(
        device="CPU",
        copy_gbs=2 * source.nbytes / _best_s(copy) / 1e9,
        fp32_tflops=2 * side**3 / _best_s(lambda: square @ square) / 1e12,
        fp16_tflops=None,
    )


def _best_s(run: Callable[[], object]) -> float:
    times = []
    for _ in range(CALLS):
        begin = time.perf_counter()
        run()
        times.append(time.perf_counter() - begin)
    return min(times)
