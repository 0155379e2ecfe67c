"""What reading a file costs this process."""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
from fuzz.attempt import peak_rss, reset_peak_rss

__all__ = ["MIB", "cost_of", "measured", "peak_bytes"]

MIB = 1 << 20

measured = pytest.mark.skipif(
    not Path("/proc/self/clear_refs").exists(), reason="peaks of memory are read from Linux"
)


def cost_of(read: Callable[[], object]) -> tuple[int, float]:
    """Bytes of memory at the peak, beyond those before, and seconds of processor."""
    reset_peak_rss()
    before, began = peak_rss(), time.process_time()
    try:
        read()
    finally:
        cost = peak_rss() - before, time.process_time() - began
    return cost


def peak_bytes(call: Callable[[], object]) -> int:
    """The most memory that was in use while `call` ran."""
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
