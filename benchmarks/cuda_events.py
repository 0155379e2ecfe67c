"""Times on a GPU, between CUDA events."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch


def event_times_ms(run: Callable[[], object], calls: int, warmup: int = 10) -> list[float]:
    """Milliseconds of each of `calls` runs on the current stream, after `warmup` that are not
    counted."""
    event, times = cast(Any, torch.cuda.Event), list[float]()  # untyped in PyTorch
    for call in range(warmup + calls):
        first, last = (event(enable_timing=True) for _ in range(2))
        first.record()
        run()
        last.record()
        torch.cuda.synchronize()
        if call >= warmup:
            times.append(first.elapsed_time(last))
    return times


def back_to_back_ms(run: Callable[[], object], calls: int) -> float:
    """Milliseconds of a run on the current stream among `calls` of which none waits for another.

    What the host takes to launch one is hidden behind those before it.
    """
    [took] = event_times_ms(lambda: [run() for _ in range(calls)], 1, warmup=1)
    return took / calls
