"""Times on a GPU of runs in a row, between CUDA events."""

from __future__ import annotations

from collections.abc import Callable

from vidtok_edge.lowering.torch_cuda import event_times_ms


def back_to_back_ms(run: Callable[[], object], calls: int) -> float:
    """Milliseconds of a run on the current stream among `calls` of which none waits for another.

    What the host takes to launch one is hidden behind those before it.
    """
    [took] = event_times_ms(lambda: [run() for _ in range(calls)], 1, warmup=1)
    return took / calls
